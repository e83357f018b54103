"""The tree of commands. Each is named by module and function, and loaded only when it is called (or asked for help)."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from cyclopts import App, CycloptsError

from quorate.cli.output import EXIT_SUCCESS, EXIT_USAGE
from quorate.cli.session import HELP_OF_GLOBAL_OPTIONS

_C = "quorate.cli.commands"
_Commands = Mapping[str, tuple[str, str]]  # what people type -> (module:function, what help lists say)

_TOP: Final[_Commands] = {
    "demo": ("quorate.cli.demo:demo", "Live-migrate a virtual machine on this machine, and prove that it lived on."),
    "up": (f"{_C}.pocket:up", "Start a pocket cluster: several nodes on this machine, without root."),
    "down": (f"{_C}.pocket:down", "Stop the pocket cluster."),
    "status": (f"{_C}.status:status", "Show nodes, virtual machines and groups."),
    "explain": (f"{_C}.explain:explain", "Take a control code, a status code or a property list apart."),
    "events": (f"{_C}.events:events", "Show what happened, and why."),
    "migrations": (f"{_C}.migrations:migrations", "Show the live migrations that are over, with their figures."),
    "why-not": (f"{_C}.why_not:why_not", "Show whether a virtual machine could be moved now, and why not."),
    "wire": (f"{_C}.wire:wire", "Show the calls in a capture of ClusAPI's wire protocol."),
    "simulate": (f"{_C}.simulate:simulate", "Play scenarios in a virtual world, with the brains of production."),
    "validate": (f"{_C}.validate:validate", "Check what would stop a virtual machine from living on."),
}
_NOUNS: Final[Mapping[str, tuple[str, _Commands]]] = {
    "vm": (
        "Virtual machines.",
        {
            "create": (f"{_C}.vm:create_", "Make one."),
            "delete": (f"{_C}.vm:delete_", "Delete one; its disks stay."),
            "list": (f"{_C}.vm:list_", "List them with node, state and migration."),
            "show": (f"{_C}.vm:show_", "Show everything about one."),
            "start": (f"{_C}.vm:start_", "Start one; a saved one goes on where it was."),
            "stop": (f"{_C}.vm:stop_", "Stop one, as its OfflineAction says."),
            "pause": (f"{_C}.vm:pause_", "Stop its CPUs; its memory stays."),
            "resume": (f"{_C}.vm:resume_", "Let a paused one run again."),
            "migrate": (f"{_C}.migrate:migrate", "Move one to another node while it runs."),
            "cancel": (f"{_C}.migrate:cancel", "Cancel its migration."),
            "console": (f"{_C}.console:console", "Show what it prints on its serial port."),
        },
    ),
    "cluster": (
        "The cluster itself.",
        {
            "show": (f"{_C}.cluster:show_", "Show it with its properties."),
            "set": (f"{_C}.cluster:set_", "Set properties of it."),
            "create": (f"{_C}.members:create_", "Make one for several machines, with this one as its first node."),
            "rename": (f"{_C}.members:rename_", "Give it another name."),
            "upgrade": (f"{_C}.members:upgrade_", "Raise its functional level to what every node knows."),
            "backup": (f"{_C}.backup:backup_", "Write its database to a file."),
            "restore": (f"{_C}.backup:restore_", "Bring its database back from a file."),
        },
    ),
    "node": (
        "Nodes.",
        {
            "list": (f"{_C}.node:list_", "List them with state and processes."),
            "pause": (f"{_C}.node:pause_", "Let one take no new virtual machines."),
            "drain": (f"{_C}.node:drain_", "Pause one and move everything off it."),
            "resume": (f"{_C}.node:resume_", "End a pause, a drain or a quarantine."),
            "set": (f"{_C}.node:set_", "Set properties of one."),
            "token": (f"{_C}.members:token_", "Print a token with which one machine may join."),
            "join": (f"{_C}.members:join_", "Let this machine join a cluster."),
            "run": (f"{_C}.members:run_", "Run this machine's node: what systemd starts."),
            "evict": (f"{_C}.members:evict_", "Take one out of the cluster for good."),
            "fence": (f"{_C}.fencing:fence_", "Show or say how one is switched off when it is dead."),
            "fence-test": (f"{_C}.fencing:fence_test_", "Ask its fence agents whether they would work."),
            "confirm-off": (f"{_C}.fencing:confirm_off_", "Give your word that one is switched off."),
        },
    ),
    "network": (
        "Networks between the nodes.",
        {
            "list": (f"{_C}.network:list_", "List them with state, subnets and role."),
            "show": (f"{_C}.network:show_", "Show one with its interfaces and properties."),
            "set": (f"{_C}.network:set_", "Set properties of one: Role, Metric, Name."),
            "order": (f"{_C}.network:order_", "Say in which order they are preferred."),
        },
    ),
    "interface": (
        "Network interfaces: what each node has on each network.",
        {
            "list": (f"{_C}.interface:list_", "List them with state, network and addresses."),
        },
    ),
    "user": (
        "Users, who reach the cluster from other machines.",
        {
            "add": (f"{_C}.user:add_", "Give one a password, or a certificate."),
            "passwd": (f"{_C}.user:passwd_", "Give one another password."),
            "list": (f"{_C}.user:list_", "List them with role, certificate and password."),
            "remove": (f"{_C}.user:remove_", "Let one in no more, at once."),
        },
    ),
    "rehearse": (
        "What would happen, played in a virtual world that is like this cluster. Nothing is changed.",
        {
            "drain": (f"{_C}.rehearse:drain_", "Tell what draining nodes would do, with times."),
            "lose": (f"{_C}.rehearse:lose_", "Tell what the loss of nodes would do, with times."),
        },
    ),
    "group": (
        "Groups.",
        {
            "list": (f"{_C}.group:list_", "List them with state and owner."),
            "show": (f"{_C}.group:show_", "Show one with its resources and properties."),
            "online": (f"{_C}.group:online_", "Bring one online."),
            "offline": (f"{_C}.group:offline_", "Take one offline."),
            "move": (f"{_C}.group:move_", "Move one to another node."),
            "set": (f"{_C}.group:set_", "Set properties of one."),
            "create": (f"{_C}.making:create_group_", "Make an empty one."),
            "delete": (f"{_C}.making:delete_group_", "Delete one that is empty, or with its resources."),
            "rename": (f"{_C}.relations:rename_group_", "Give one another name."),
            "depend": (f"{_C}.group_set:depend_group_", "Let one wait for others when the cluster starts it."),
            "undepend": (f"{_C}.group_set:undepend_group_", "Let one wait for another no more."),
        },
    ),
    "group-set": (
        "Group sets: in which order the cluster starts groups.",
        {
            "list": (f"{_C}.group_set:list_", "List them with groups and what they wait for."),
            "create": (f"{_C}.group_set:create_", "Make an empty one."),
            "delete": (f"{_C}.group_set:delete_", "Delete one; its groups stay."),
            "add": (f"{_C}.group_set:add_", "Put groups into one."),
            "remove": (f"{_C}.group_set:remove_", "Take groups out of theirs."),
            "depend": (f"{_C}.group_set:depend_", "Let the groups of one wait for another."),
            "undepend": (f"{_C}.group_set:undepend_", "Let them wait for another no more."),
            "set": (f"{_C}.group_set:set_", "Set properties of one: ReadyCount, ReadyDelay."),
        },
    ),
    "resource": (
        "Resources.",
        {
            "list": (f"{_C}.resource:list_", "List them with type, state, group and owner."),
            "show": (f"{_C}.resource:show_", "Show one with its properties."),
            "set": (f"{_C}.resource:set_", "Set properties of one."),
            "control": (f"{_C}.resource:control_", "Send a control code to one."),
            "create": (f"{_C}.making:create_", "Make one."),
            "delete": (f"{_C}.making:delete_", "Delete one that is offline."),
            "online": (f"{_C}.making:online_", "Bring one online, with what it depends on."),
            "offline": (f"{_C}.making:offline_", "Take one offline, with what depends on it."),
            "restart": (f"{_C}.making:restart_", "Take one offline and bring it online again."),
            "fail": (f"{_C}.making:fail_", "Treat one as failed."),
            "depend": (f"{_C}.relations:depend_", "Let one depend on another."),
            "undepend": (f"{_C}.relations:undepend_", "Let one depend on another no more."),
            "regroup": (f"{_C}.relations:regroup_", "Put one into another group."),
            "rename": (f"{_C}.relations:rename_resource_", "Give one another name."),
        },
    ),
    "type": (
        "Resource types.",
        {
            "list": (f"{_C}.resource_type:list_", "List them, and whether resources of them can be made."),
            "show": (f"{_C}.resource_type:show_", "Show one with its properties and resources."),
            "create": (f"{_C}.resource_type:create_", "Register one that a package carries out."),
            "delete": (f"{_C}.resource_type:delete_", "Delete one without resources."),
            "set": (f"{_C}.resource_type:set_", "Set properties of one: which networks memory takes, …"),
        },
    ),
}


def build_app() -> App:
    """The commands of DESIGN §7 that exist so far."""
    app = App(
        name="quorate",
        help="A failover cluster for QEMU/KVM whose contract is ClusAPI.",
        help_epilogue=HELP_OF_GLOBAL_OPTIONS,
        help_format="plaintext",
    )
    for name, (place, help_) in _TOP.items():
        if name != "demo" or find_spec("quorate.cli.demo") is not None:
            app.command(place, name=name, help=help_)
    for noun, (help_, verbs) in _NOUNS.items():
        sub = App(name=noun, help=help_)
        for verb, (place, verb_help) in verbs.items():
            sub.command(place, name=verb, help=verb_help)
        app.command(sub)
    return app


def run_app(arguments: list[str]) -> int:
    """Run a command and return its exit code; what cannot be parsed is the caller's mistake."""
    app = build_app()
    try:
        code: object = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return EXIT_USAGE
    return code if isinstance(code, int) else EXIT_SUCCESS
