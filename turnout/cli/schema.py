"""Print the JSON Schema of policy files, for editors.

  policy schema > policy.schema.json

An editor with the YAML language server then completes and checks keys after this first line:

  # yaml-language-server: $schema=policy.schema.json

It is good for policies and for the files they include. Names, types and units are checked by
`policy lint`.
"""

import argparse
import json

from turnout.dsl.json_schema import json_schema


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
