"""Messages of any type with odd values in them: numbers at their bounds, texts that look like something else."""

from google.protobuf.descriptor import FieldDescriptor

DEPTH = 5
POWERS = [2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)]
NUMBERS = [0, 1, 2, 7, 500, -1, *POWERS]
FLOATS = [0.0, -1.0, 0.5, 1e300, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "", " ", "x", "step_1", "note", "tool:note", "wf_x", "0:1", "1.0", "1.1", "{}", "[]", "null", "[NaN]", '"\\ud800"',
    "${input}", "${steps.step_1.output}", "${item}", "${", "true", "steps.step_1.output", "\0", "ü", "\U0001f600",
    "a" * 300, "%s%n", "'; DROP TABLE events; --", "../../etc/passwd", "workflow_started", "admin", "*", "tools.*",
]  # fmt: skip
BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def fill(message, chance, depth=DEPTH, density=0.55):
    """Sets so many of a message's fields to odd values."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() > density or (field.message_type and not depth):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[chance.choice(TEXTS)] = chance.choice(TEXTS)
        elif field.is_repeated and field.message_type:
            for _ in range(chance.choice([1, 1, 2, 3])):
                fill(getattr(message, field.name).add(), chance, depth - 1, density)
        elif field.is_repeated:
            getattr(message, field.name).extend(odd(field, chance) for _ in range(chance.choice([1, 2])))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), chance, depth - 1, density)
        else:
            setattr(message, field.name, odd(field, chance))


def odd(field, chance):
    """An odd value for a field."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([0, 1, 2, 3, 99])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(FLOATS)
    least, most = BOUNDS[kind]
    return chance.choice([number for number in NUMBERS if least <= number <= most])
