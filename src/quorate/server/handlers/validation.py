"""The operation Validate."""

from quorate.clusapi.operation_values import Values
from quorate.server.call import Call
from quorate.server.validation.checks import run_checks
from quorate.server.validation.findings import worst
from quorate.server.validation.gather import gather


async def validate(call: Call) -> Values:
    """Check the whole cluster; changes nothing."""
    findings = run_checks(await gather(call))
    return Values({"verdict": str(worst(findings)), "findings": tuple(finding.to_json() for finding in findings)})
