"""Reads a message from stdin as strictly as Python can, and prints what it means as JSON."""

import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.strict.clone(utf8=True))
leaves = [part for part in message.walk() if not part.is_multipart()]
defects = [str(defect) for part in message.walk() for defect in part.defects]
defects += [f"{name}: {defect}" for name, value in message.items() for defect in value.defects]
print(json.dumps({
    "header": [[name.lower(), str(value)] for name, value in message.items()],
    "types": [part.get_content_type() for part in message.walk()],
    "parts": [[part.get_content_type(), part.get_filename(), part.get_content_disposition(),
               part.get_payload(decode=True).hex()] for part in leaves],
    "ids": [part["content-id"] for part in leaves],
    "status": [[[name.lower(), str(value)] for name, value in group.items()] for part in message.walk()
               if part.get_content_type() == "message/delivery-status" for group in part.get_payload()],
    "defects": defects,
}))
