"""Microsoft's msticpy asks iocast as if it were the original: only the base URL is another. Prints what it makes of each answer."""

from __future__ import annotations

import json
import sys

from msticpy.context.tiproviders.intsights import IntSights


def main(url: str, account: str, key: str, lookups: list[list[str]]) -> None:
    IntSights._BASE_URL = url
    provider = IntSights(ApiID=account, AuthKey=key)
    said = []
    for value, kind in lookups:
        result = provider.lookup_ioc(value, kind).to_dict("records")[0]
        said.append({"found": bool(result["Result"]), "severity": result["Severity"], "details": result["Details"]})
    json.dump(said, sys.stdout, default=str)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
