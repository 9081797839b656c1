"""Runs the cases of the Autobahn test suite against a WebSocket server: python3 autobahn.py URL. One line of JSON a case.

Without the cases 12 and 13, which vary compression: to a proxy compressed frames are frames like others.
"""

import asyncio
import json
import sys

import kosoku


async def main(url: str) -> None:
    try:
        results = await kosoku.run_fuzzingclient(url, exclude_cases=["12.*", "13.*"])
    except kosoku.FailureError as failure:
        results = failure.results
    for result in results:
        told = {"case": result.case_id, "behavior": result.behavior.value, "close": result.behavior_close.value}
        print(json.dumps(told))


asyncio.run(main(sys.argv[1]))
