"""Generates a Python client from iocast's OpenAPI document, as an integrator does, and works with it.

usage: openapi_client.py URL TOKEN FOLDER. Prints the group's URL.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

url, token, folder = sys.argv[1:]
document = Path(folder) / "openapi.json"
request = urllib.request.Request(f"{url}/api/openapi.json", headers={"Authorization": f"Bearer {token}"})
document.write_bytes(urllib.request.urlopen(request).read())
validate(json.loads(document.read_bytes()))

generator = Path(sys.executable).parent / "openapi-python-client"
made = Path(folder) / "iocast_client"
said = subprocess.run(
    [generator, "generate", "--path", document, "--output-path", made, "--meta", "none"], check=True, capture_output=True, text=True
).stdout
# It reads no forms but JSON; anything else that it leaves out is a fault of the document.
left_out = [line for line in said.splitlines() if "will not be generated" in line or "removal of" in line]
assert not left_out, said

sys.path.insert(0, folder)
from iocast_client import AuthenticatedClient
from iocast_client.api.devices import post_devices
from iocast_client.api.groups import post_devices_id_groups
from iocast_client.api.sources import post_sources, post_sources_id_iocs
from iocast_client.models import DeviceIn, DeviceInDeviceType, GroupIn, ImportIocIn, SourceIn

client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)


def done(answer):
    assert answer.status_code in (200, 201), answer
    return answer.parsed


device = done(post_devices.sync_detailed(client=client, body=DeviceIn(name="Lab MISP", device_type=DeviceInDeviceType.MISP)))
group = done(post_devices_id_groups.sync_detailed(device.id, client=client, body=GroupIn(name="Perimeter")))
source = done(post_sources.sync_detailed(client=client, body=SourceIn(name="Own feed", confidence=2)))
report = done(post_sources_id_iocs.sync_detailed(source.id, client=client, body=[ImportIocIn(value="evil[.]example")]))
assert (report.accepted, report.rejected_count) == (1, 0), report
print(group.url)
