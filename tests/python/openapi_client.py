"""Generates Python clients from iocast's OpenAPI documents, as an integrator does, and works with them.

usage: openapi_client.py URL TOKEN FOLDER. Prints the group's URL.
"""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

url, token, folder = sys.argv[1:]


def generate(path: str, name: str) -> None:
    """A client of a document, as a package in the folder."""
    document = Path(folder) / f"{name}.json"
    request = urllib.request.Request(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})
    document.write_bytes(urllib.request.urlopen(request).read())
    validate(json.loads(document.read_bytes()))
    generator = Path(sys.executable).parent / "openapi-python-client"
    made = Path(folder) / name
    said = subprocess.run(
        [generator, "generate", "--path", document, "--output-path", made, "--meta", "none"], check=True, capture_output=True, text=True
    ).stdout
    # It reads no forms but JSON; anything else that it leaves out is a fault of the document.
    left_out = [line for line in said.splitlines() if "will not be generated" in line or "removal of" in line]
    assert not left_out, said


def done(answer):
    assert answer.status_code in (200, 201), answer
    return answer.parsed


generate("/api/openapi.json", "iocast_client")
generate("/api/threat-command.json", "threat_command_client")
sys.path.insert(0, folder)
from iocast_client import AuthenticatedClient
from iocast_client.api.devices import post_devices
from iocast_client.api.groups import post_devices_id_groups
from iocast_client.api.sources import post_sources, post_sources_id_iocs
from iocast_client.api.account import get_account
from iocast_client.api.keys import post_keys
from iocast_client.models import DeviceIn, DeviceInDeviceType, GroupIn, ImportIocIn, KeyIn, KeyInKind, SourceIn
from threat_command_client import AuthenticatedClient as ThreatCommandClient
from threat_command_client.api.threat_command_io_cs import get_public_v3_iocs, get_public_v3_iocs_ioc_by_value

client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)


device = done(post_devices.sync_detailed(client=client, body=DeviceIn(name="Lab MISP", device_type=DeviceInDeviceType.MISP)))
group = done(post_devices_id_groups.sync_detailed(device.id, client=client, body=GroupIn(name="Perimeter")))
source = done(post_sources.sync_detailed(client=client, body=SourceIn(name="Own feed", confidence=2)))
report = done(post_sources_id_iocs.sync_detailed(source.id, client=client, body=[ImportIocIn(value="evil[.]example")]))
assert (report.accepted, report.rejected_count) == (1, 0), report

# The REST API of the original, from the document that has nothing else.
account = done(get_account.sync_detailed(client=client)).id
key = done(post_keys.sync_detailed(client=client, body=KeyIn(kind=KeyInKind.API))).secret
credentials = base64.b64encode(f"{account}:{key}".encode()).decode()
original = ThreatCommandClient(base_url=url, token=credentials, prefix="Basic", raise_on_unexpected_status=True)
page = done(get_public_v3_iocs.sync_detailed(client=original, last_updated_from="2026-10-01T00:00:00Z", type_=["Domains"]))
assert [ioc.value for ioc in page.content] == ["evil.example"], page
one = done(get_public_v3_iocs_ioc_by_value.sync_detailed(client=original, ioc_value="evil.example"))
assert (one.type_, one.severity, one.reported_feeds[0].name) == ("Domains", "Low", "Own feed"), one
print(group.url)
