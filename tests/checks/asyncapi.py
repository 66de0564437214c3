"""The AsyncAPI document, and each schema that it refers to, by the official JSON Schema of AsyncAPI 3.0.

The schema is of the npm package `@asyncapi/specs` (Apache-2.0), at a pinned version and checked by its hash; it is
fetched into `.cache/` with npm and not kept in the repository. `python -m tests.checks.asyncapi`, or `make checks`.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from schemas.export import documents

PACKAGE, VERSION = "@asyncapi/specs", "6.11.1"
SHA256 = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"
FOLDER = Path(__file__).parents[2] / ".cache" / "checks"
SCHEMA = FOLDER / "node_modules" / PACKAGE / "schemas" / "3.0.0.json"
OF_PAYLOADS = "http://asyncapi.com/definitions/3.0.0/schema.json"


def fetched() -> dict[str, Any]:
    """Return the official schema, fetching it where it is not there; ends the program where it cannot be had."""
    if not SCHEMA.exists():
        npm = shutil.which("npm") or sys.exit("npm is needed to fetch the official schema of AsyncAPI")
        FOLDER.mkdir(parents=True, exist_ok=True)
        options = ("--no-save", "--no-package-lock", "--ignore-scripts", "--silent", "--prefix", str(FOLDER))
        subprocess.run([npm, "install", *options, f"{PACKAGE}@{VERSION}"], check=True)
    found = SCHEMA.read_bytes()
    if hashlib.sha256(found).hexdigest() != SHA256:
        sys.exit(f"{SCHEMA} is not the schema that was pinned")
    schema: dict[str, Any] = json.loads(found)
    return schema


def main() -> None:
    """Print what is wrong and end with 1, or say that all is valid."""
    official = fetched()
    ours = documents()
    of_payloads = {"$ref": OF_PAYLOADS, "definitions": official["definitions"]}
    referred = {name: one for name, one in ours.items() if f'"./{name}"' in json.dumps(ours["asyncapi.json"])}
    judged = [("asyncapi.json", official, ours["asyncapi.json"])]
    judged += [(name, of_payloads, schema) for name, schema in referred.items()]
    wrong = [
        f"{name} at {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for name, schema, document in judged
        for error in Draft7Validator(schema).iter_errors(document)
    ]
    if wrong:
        sys.exit("\n".join(wrong))
    sys.stdout.write(f"{len(judged)} documents are valid by {PACKAGE} {VERSION}\n")


if __name__ == "__main__":
    main()
