#!/bin/sh
# mailread on messages made to be slow to read, from 1 to 64 MiB: the time must grow as the bytes do. Beside python's email.
. "$(dirname "$0")/common.sh"

machine
python3 - <<'PY'
import base64, itertools, os

def nested():
    """Multiparts whose boundaries never come, then text."""
    yield "Content-Type: multipart/mixed; boundary=b\n\n"
    for number in range(9900):
        yield f"--b\nContent-Type: multipart/mixed; boundary=zz{number}\n\n"
    yield from itertools.repeat("x" * 70 + "\n")

def pieces():
    """Parts whose file name comes in tens of thousands of pieces (RFC 2231)."""
    yield "Content-Type: multipart/mixed; boundary=b\n\n"
    name = "".join(f" filename*{number}=x;\n" for number in range(45000))
    for _ in itertools.count():
        yield f"--b\nContent-Type: a/b\nContent-Disposition: attachment;\n{name} x=y\n\nx\n"

def prefixes():
    """Lines that are boundaries but for their last letter, a hundred levels deep."""
    for level in range(99):
        yield f"Content-Type: multipart/mixed; boundary={'a' * 60}{level:02}\n\n--{'a' * 60}{level:02}\n"
    yield "\n"
    yield from itertools.repeat(f"--{'a' * 60}x\n")

def encoded():
    """One attachment."""
    yield "Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\n"
    yield from itertools.repeat(base64.encodebytes(os.urandom(57000)).decode())

for shape in (nested, pieces, prefixes, encoded):
    for size in (1, 4, 16, 64):
        with open(f"{shape.__name__}{size}.eml", "w") as message:
            rest = size << 20
            for text in shape():
                message.write(text[:rest])
                rest -= len(text)
                if rest <= 0:
                    break
open("walk.py", "w").write("""
import email, sys
for part in email.message_from_binary_file(open(sys.argv[1], "rb")).walk():
    part.get_filename()
    part.get_payload(decode=True)
""")
PY

for shape in nested pieces prefixes encoded; do
    {
        for size in 1 4 16 64; do
            [ "${SCALE:-}" != small ] || [ "$size" -lt 16 ] || continue
            printf 'ours, %s MiB\tmailread show --json -q -m %s%s.eml\n' "$size" "$shape" "$size"
        done
        printf 'python email, 1 MiB\tpython3 walk.py %s1.eml\n' "$shape"
    } | measure "reading: $shape"
done
