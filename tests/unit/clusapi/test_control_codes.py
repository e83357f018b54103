"""Control codes: the bits, the table, and the places where the documentation and the header disagree."""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi import control_codes as c
from quorate.clusapi.control_code_lookup import (
    all_control_codes,
    control_codes_named,
    control_codes_with_value,
)
from quorate.clusapi.control_code_table import BASE_OPERATIONS, NOTES, RESOURCE_TYPES, ROWS, Handler
from quorate.clusapi.control_codes import ControlAccess, ControlCodeFields, ControlObject, decode

CODES = [code for code in all_control_codes() if code.name.startswith("CLUSCTL_")]
CONSTANTS = {name: value for name, value in vars(c).items() if name.startswith("CLUSCTL_")}


@given(st.integers(0, 0xFFFFFFFF))
def test_any_32_bit_number_survives_being_taken_apart_and_put_together(code: int) -> None:
    assert decode(code).encode() == code


@given(
    st.builds(
        ControlCodeFields,
        object=st.integers(0, 0xFF),
        global_=st.booleans(),
        modify=st.booleans(),
        user=st.booleans(),
        internal=st.booleans(),
        function=st.integers(0, 0x3FFFF),
        access=st.integers(0, 3),
    )
)
def test_any_fields_survive_being_put_together_and_taken_apart(fields: ControlCodeFields) -> None:
    assert decode(fields.encode()) == fields


@pytest.mark.parametrize(
    ("bit", "field"),
    [(23, "global_"), (22, "modify"), (21, "user"), (20, "internal")],
)
def test_each_flag_is_its_own_bit(bit: int, field: str) -> None:
    fields = decode(1 << bit)

    assert [name for name in ("global_", "modify", "user", "internal") if getattr(fields, name)] == [field]
    assert (fields.object, fields.function, fields.access) == (0, 0, 0)


@pytest.mark.parametrize("code", [-1, 1 << 32])
def test_a_number_of_more_than_32_bits_is_no_control_code(code: int) -> None:
    with pytest.raises(ValueError, match="32-bit"):
        decode(code)


@pytest.mark.parametrize(("object_", "function", "access"), [(256, 0, 0), (0, 1 << 18, 0), (0, 0, 4), (-1, 0, 0)])
def test_a_field_that_does_not_fit_its_bits_is_refused(object_: int, function: int, access: int) -> None:
    with pytest.raises(ValueError, match="does not fit into"):
        ControlCodeFields(object_, False, False, False, False, function, access)


def test_start_migration_is_vendor_function_1_of_a_resource_that_modifies() -> None:
    assert c.CLUSCTL_RESOURCE_VM_START_MIGRATION == 0x01600004 == 23068676
    assert decode(0x01600004) == ControlCodeFields(
        object=ControlObject.RESOURCE,
        global_=False,
        modify=True,
        user=True,
        internal=False,
        function=1,
        access=ControlAccess.ANY,
    )


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        (c.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, 0x01600008),
        (c.CLUSCTL_RESOURCE_VM_ACCEPT_MIGRATION, 0x0160000C),
        (c.CLUSCTL_RESOURCE_VM_HALT_MIGRATION, 0x01600010),
        (c.CLUSCTL_RESOURCE_VM_SET_NEXT_OFFLINE_ACTION, 0x01600014),
        (c.CLUSCTL_RESOURCE_VM_CONFIG_UPDATE, 0x01600004),
        (c.CLUSCTL_RESOURCE_GET_CHARACTERISTICS, 0x01000005),
        (c.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, 0x01400086),
        (c.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_RESOURCE_PROPERTY_FMTS, 0x02000091),
        (c.CLUSCTL_GROUP_GET_NAME, 0x03000029),
        (c.CLUSCTL_NODE_GET_ID, 0x04000039),
        (c.CLUSCTL_NETWORK_SET_COMMON_PROPERTIES, 0x0540005E),
        (c.CLUSCTL_NETINTERFACE_GET_NODE, 0x06000031),
        (c.CLUSCTL_CLUSTER_SHUTDOWN, 0x0700004D),
        (c.CLUSCTL_GROUPSET_GET_ID, 0x08000039),
        (c.CLUSCTL_AFFINITYRULE_GET_GROUPNAMES, 0x09002D71),
        (c.CLUSCTL_RESOURCE_DELETE, 0x01500006),
        (c.CLUSCTL_RESOURCE_NOTIFY_OWNER_CHANGE, 0x01502122),
    ],
)
def test_a_constant_has_the_headers_number(constant: int, value: int) -> None:
    assert constant == value


def test_the_table_has_every_constant_once_and_nothing_else() -> None:
    names = [name for name, *_ in ROWS]

    assert len(names) == len(set(names)) == 322
    assert set(names) == set(CONSTANTS)
    assert len(BASE_OPERATIONS) == 195
    assert set(NOTES) <= set(names)
    assert set(RESOURCE_TYPES) <= set(names)


# Names whose number the header forms with another object than the name tells; the number holds.
NAMED_FOR_ANOTHER_OBJECT = {
    "CLUSCTL_RESOURCE_TYPE_STORAGE_IS_CSV_FILE": ControlObject.RESOURCE,
    "CLUSCTL_GROUP_GET_PROVIDER_GROUPS": ControlObject.GROUPSET,
    "CLUSCTL_GROUP_GET_PROVIDER_GROUPSETS": ControlObject.GROUPSET,
    "CLUSCTL_CLOUD_WITNESS_RESOURCE_UPDATE_TOKEN": ControlObject.RESOURCE,
    "CLUSCTL_CLOUD_WITNESS_RESOURCE_UPDATE_KEY": ControlObject.RESOURCE,
    "CLUSCTL_CLOUD_WITNESS_RESOURCE_TYPE_VALIDATE_CREDENTIALS": ControlObject.RESOURCE_TYPE,
    "CLUSCTL_CLOUD_WITNESS_RESOURCE_TYPE_VALIDATE_CREDENTIALS_WITH_KEY": ControlObject.RESOURCE_TYPE,
}


def test_a_codes_name_and_its_object_bits_agree() -> None:
    def named(name: str) -> ControlObject | None:
        fitting = [object_ for object_ in ControlObject if name.startswith(f"CLUSCTL_{object_.name}_")]
        return NAMED_FOR_ANOTHER_OBJECT.get(name, max(fitting, key=lambda object_: len(object_.name), default=None))

    assert [code.name for code in CODES if code.fields.object != named(code.name)] == []


# Codes that the header makes from the base operation of another name.
BASE_OF_ANOTHER_NAME = {
    "CLUSCTL_RESOURCE_RLUA_GET_VIRTUAL_SERVER_TOKEN": "NETNAME_GET_VIRTUAL_SERVER_TOKEN",
    "CLUSCTL_RESOURCE_RLUA_SET_PWD_INFO": "NETNAME_SET_PWD_INFO",
    "CLUSCTL_RESOURCE_RLUA_SET_PWD_INFOEX": "NETNAME_SET_PWD_INFOEX",
    "CLUSCTL_RESOURCE_TYPE_NETNAME_VALIDATE_NETNAME": "VALIDATE_NETNAME",
    "CLUSCTL_RESOURCE_TYPE_GEN_APP_VALIDATE_PATH": "VALIDATE_PATH",
    "CLUSCTL_RESOURCE_TYPE_GEN_APP_VALIDATE_DIRECTORY": "VALIDATE_DIRECTORY",
    "CLUSCTL_RESOURCE_TYPE_GEN_SCRIPT_VALIDATE_PATH": "VALIDATE_PATH",
    "CLUSCTL_RESOURCE_TYPE_WITNESS_VALIDATE_PATH": "VALIDATE_PATH",
    "CLUSCTL_RESOURCE_TYPE_PREPARE_UPGRADE": "RESOURCE_PREPARE_UPGRADE",
    "CLUSCTL_RESOURCE_TYPE_UPGRADE_COMPLETED": "RESOURCE_UPGRADE_COMPLETED",
    "CLUSCTL_CLUSTER_FORCE_FLUSH_DB": "FORCE_DB_FLUSH",
    "CLUSCTL_CLUSTER_GET_CLMUSR_TOKEN": "NETNAME_GET_VIRTUAL_SERVER_TOKEN",
    "CLUSCTL_AFFINITYRULE_GET_GROUPNAMES": "GROUPSET_GET_GROUPS",
}


def test_a_code_without_its_object_is_the_base_operation_of_its_name() -> None:
    base_of = {value: name.removeprefix("CLCTL_") for name, value in BASE_OPERATIONS.items()}
    differing = {
        code.name: base_of.get(code.value & 0x00FFFFFF)
        for code in CODES
        if base_of.get(code.value & 0x00FFFFFF) not in (code.short_name, code.name.removeprefix("CLUSCTL_"))
    }
    # A vendor's number is the vendor's own, and the two global codes are no longer in the header.
    without_base = {name for name, base in differing.items() if base is None}

    assert {name: base for name, base in differing.items() if base is not None} == BASE_OF_ANOTHER_NAME
    assert without_base == {code.name for code in CODES if code.fields.user or code.fields.global_}


def test_a_base_operation_has_no_object_and_nobody_who_answers_it() -> None:
    bases = [code for code in all_control_codes() if code.name.startswith("CLCTL_")]

    assert len(bases) == len(BASE_OPERATIONS)
    assert [code.name for code in bases if code.fields.object or code.handler is not None] == []


def test_internal_codes_are_those_that_no_application_may_send() -> None:
    internal = {code.name for code in CODES if code.fields.internal}
    notified = {code.name for code in CODES if code.handler is Handler.NOTIFICATION}

    assert internal - notified == {"CLUSCTL_RESOURCE_FORCE_QUORUM", "CLUSCTL_RESOURCE_INITIALIZE"}
    assert notified - internal == set()


def test_vendor_codes_and_only_they_name_their_resource_type() -> None:
    assert {code.name for code in CODES if code.fields.user} == set(RESOURCE_TYPES)


def test_codes_that_set_properties_modify_and_those_that_read_them_do_not() -> None:
    setting = [code for code in CODES if re.match("SET_(COMMON|PRIVATE)_", code.short_name)]
    reading = [code for code in CODES if re.match("(GET|ENUM|VALIDATE)_.*_PROPERT", code.short_name)]

    assert len(setting) == 16
    assert [code.name for code in setting if not code.fields.modify or code.fields.access != ControlAccess.WRITE] == []
    assert [code.name for code in setting if (code.input, code.output) != ("property list", "none")] == []
    assert len(reading) == 76
    assert [code.name for code in reading if code.fields.modify or code.fields.access != ControlAccess.READ] == []


def test_objects_are_numbered_in_sequence_and_not_one_bit_each() -> None:
    assert [object_.value for object_ in ControlObject] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x80]


@pytest.mark.parametrize(
    ("name", "header", "page"),
    [
        ("RESOURCE_FILESERVER_SHARE_ADD", 0x01400246, 0x01400245),
        ("RESOURCE_FILESERVER_SHARE_DEL", 0x0140024A, 0x01400249),
        ("RESOURCE_FILESERVER_SHARE_MODIFY", 0x0140024E, 0x0140024D),
        ("RESOURCE_FILESERVER_SHARE_REPORT", 0x01000251, 0x01400251),
        ("RESOURCE_GET_STATE_CHANGE_TIME", 0x01002D5D, 0x01002D5C),
        ("RESOURCE_SET_CSV_MAINTENANCE_MODE", 0x01400296, 0x00400296),
        ("RESOURCE_VALIDATE_CHANGE_GROUP", 0x01102125, 0x01202125),
        ("CLUSTER_CLEAR_NODE_CONNECTION_INFO", 0x07400306, 0x07400307),
        ("CLUSTER_SET_CLUSTER_S2D_CACHE_METADATA_RESERVE_BYTES", 0x07402D6E, 0x07402D62),
        ("RESOURCE_TYPE_STORAGE_REMOVE_VM_OWNERSHIP", 0x0240020E, 0x0200020E),
    ],
)
def test_where_a_page_prints_another_number_the_header_wins(name: str, header: int, page: int) -> None:
    (code,) = control_codes_named(name)

    assert code.value == header
    assert f"the page says 0x{page:08X}" in code.note
    assert name not in {found.name.removeprefix("CLUSCTL_") for found in control_codes_with_value(page)}


@pytest.mark.parametrize(
    ("name", "modify", "internal", "access"),
    [
        ("RESOURCE_UNKNOWN", False, False, ControlAccess.ANY),
        ("CLUSTER_UNKNOWN", False, False, ControlAccess.ANY),
        ("RESOURCE_GET_OPERATION_CONTEXT", False, True, ControlAccess.READ),
        ("RESOURCE_NETNAME_RESET_VCO", False, False, ControlAccess.READ),
        ("RESOURCE_NETNAME_VALIDATE_VCO", False, False, ControlAccess.READ),
        ("RESOURCE_PROVIDER_STATE_CHANGE", True, True, ControlAccess.WRITE),
        ("RESOURCE_PREPARE_UPGRADE", True, False, ControlAccess.WRITE),
        ("RESOURCE_UPGRADE_COMPLETED", True, False, ControlAccess.WRITE),
        ("RESOURCE_RW_MODIFY_NOOP", True, False, ControlAccess.WRITE),
        ("RESOURCE_TYPE_REPLICATION_GET_LOG_INFO", False, False, ControlAccess.READ),
        ("RESOURCE_TYPE_EVICT_NODE", True, True, ControlAccess.WRITE),
        ("RESOURCE_UPGRADE_DLL", True, False, ControlAccess.WRITE),
        ("CLUSTER_REMOVE_NODE", True, False, ControlAccess.WRITE),
    ],
)
def test_where_a_page_prints_other_bits_the_header_wins(
    name: str, modify: bool, internal: bool, access: ControlAccess
) -> None:
    (code,) = control_codes_named(name)

    assert (code.fields.modify, code.fields.internal, code.fields.access) == (modify, internal, access)
    assert code.note.startswith("the page says")


def test_only_two_codes_are_for_every_node_at_once() -> None:
    assert {code.name: code.value for code in CODES if code.fields.global_} == {
        "CLUSCTL_RESOURCE_NETNAME_CREDS_UPDATED": 0x01C0018A,
        "CLUSCTL_RESOURCE_STORAGE_CLUSTER_DISK": 0x01C00212,
    }


def test_start_migration_and_config_update_share_a_number_but_not_a_resource_type() -> None:
    found = control_codes_with_value(0x01600004)

    assert [(code.short_name, code.resource_type) for code in found] == [
        ("VM_START_MIGRATION", "Virtual Machine"),
        ("VM_CONFIG_UPDATE", "Virtual Machine Configuration"),
    ]


def test_two_kinds_of_network_name_share_their_numbers() -> None:
    found = {code.short_name for code in control_codes_with_value(0x0100016D)}

    assert found == {"NETNAME_GET_VIRTUAL_SERVER_TOKEN", "RLUA_GET_VIRTUAL_SERVER_TOKEN"}


def test_an_unknown_number_or_name_finds_nothing() -> None:
    assert control_codes_with_value(0x01FFFFFF) == ()
    assert control_codes_named("VM_TELEPORT") == ()


@pytest.mark.parametrize(
    "name",
    [
        "CLUSCTL_RESOURCE_VM_START_MIGRATION",
        "RESOURCE_VM_START_MIGRATION",
        "VM_START_MIGRATION",
        "vm_start_migration",
        " Clusctl_Resource_VM_Start_Migration ",
    ],
)
def test_a_code_is_found_by_each_of_its_names(name: str) -> None:
    assert [code.name for code in control_codes_named(name)] == ["CLUSCTL_RESOURCE_VM_START_MIGRATION"]


def test_a_short_name_finds_the_code_of_every_object_and_the_base_operation() -> None:
    found = {code.name for code in control_codes_named("get_name")}

    assert found == {
        "CLUSCTL_RESOURCE_GET_NAME",
        "CLUSCTL_GROUP_GET_NAME",
        "CLUSCTL_NODE_GET_NAME",
        "CLUSCTL_NETWORK_GET_NAME",
        "CLUSCTL_NETINTERFACE_GET_NAME",
        "CLCTL_GET_NAME",
    }


def test_a_short_name_is_narrowed_down_by_the_object() -> None:
    assert [code.value for code in control_codes_named("GET_NAME", ControlObject.GROUP)] == [0x03000029]
    assert control_codes_named("VM_START_MIGRATION", ControlObject.GROUP) == ()


def test_every_code_is_found_by_each_name_and_by_its_number() -> None:
    assert [code.name for code in CODES if control_codes_named(code.name) != (code,)] == []
    assert [code.name for code in CODES if code not in control_codes_with_value(code.value)] == []
    assert [
        code.name
        for code in CODES
        if code not in control_codes_named(code.short_name, ControlObject(code.fields.object))
    ] == []


def test_the_table_is_loaded_only_by_who_looks_something_up() -> None:
    script = (
        "import sys, quorate.clusapi.control_codes, quorate.clusapi.errors, quorate.clusapi.property_lists\n"
        "print('quorate.clusapi.control_codes' in sys.modules, 'quorate.clusapi.control_code_table' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert ran.stdout.split() == ["True", "False"]
