"""A mail server that does as it is told: aiosmtpd, with faults by script.

usage: smtp.py [--tls CERT KEY] [--port PORT]

Prints its port, then one JSON line for each message that it took and each step that it reached. Reads one JSON line for each
change of its manners from standard input: {"at": STEP, "do": FAULT, "for": ADDRESS or null, "times": N or null}.

STEP is connect, EHLO, STARTTLS, MAIL, RCPT, DATA or dot. FAULT is an answer such as "451 later", or hang, reset, close, garbage;
at dot also lost: the message is taken, and the line dies before the answer. An empty object forgets all faults; {"sync": true} only asks whether everything was heard.
"""

import asyncio
import email
import json
import socket
import ssl
import struct
import sys
import threading

from aiosmtpd.smtp import SMTP, syntax

faults: list[dict] = []
out = threading.Lock()


def say(**what):
    with out:
        print(json.dumps(what), flush=True)


def fault(step: str, recipient: str | None = None) -> str | None:
    for known in faults:
        if known["at"] == step and known.get("for") in (None, recipient):
            if known.get("times") is not None:
                known["times"] -= 1
                if known["times"] <= 0:
                    faults.remove(known)
            return known["do"]
    return None


class Scripted(SMTP):
    async def misbehave(self, step: str, recipient: str | None = None) -> str | None:
        """Carries a fault out. Gives an answer, or None where there is nothing more to do."""
        what = fault(step, recipient)
        if what is None:
            return ""
        if what == "hang":
            await asyncio.sleep(3600)
        if what in ("reset", "lost"):
            # Linger of zero: the kernel sends RST.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            return None
        if what == "close":
            self.transport.close()
            return None
        if what == "garbage":
            self.transport.write(b"\x00\xff\xfe what?\r\n" * 3)
            return None
        await self.push(what)
        return None

    async def _handle_client(self):
        say(step="connect")
        if await self.misbehave("connect") == "":
            await super()._handle_client()

    async def smtp_EHLO(self, arg):
        say(step="EHLO")
        if await self.misbehave("EHLO") == "":
            await super().smtp_EHLO(arg)

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg):
        say(step="STARTTLS")
        if await self.misbehave("STARTTLS") == "":
            await super().smtp_STARTTLS(arg)

    async def smtp_MAIL(self, arg):
        say(step="MAIL")
        if await self.misbehave("MAIL") == "":
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg):
        recipient = arg.split("<")[1].split(">")[0] if arg and "<" in arg else None
        say(step="RCPT", to=recipient)
        if await self.misbehave("RCPT", recipient) == "":
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg):
        say(step="DATA")
        if await self.misbehave("DATA") == "":
            await super().smtp_DATA(arg)


class Messages:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content)
        parts = {part.get_content_type(): part.get_payload(decode=True).decode() for part in message.walk() if not part.is_multipart()}
        what = fault("dot", envelope.rcpt_tos[0])
        taken = what in (None, "lost")
        if taken:
            say(message=message["Message-ID"], to=envelope.rcpt_tos, subject=message["Subject"], text=parts.get("text/plain"), html=parts.get("text/html"), tls=session.ssl is not None)
        else:
            say(step="dot")
        if what is None:
            return "250 taken"
        if what == "hang":
            await asyncio.sleep(3600)
        if what in ("reset", "lost"):
            server.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.transport.abort()
            return "250 never said"
        if what == "close":
            server.transport.close()
            return "250 never said"
        if what == "garbage":
            return "what?"
        return what


async def main() -> None:
    context = None
    if "--tls" in sys.argv:
        certificate, key = sys.argv[sys.argv.index("--tls") + 1 :][:2]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    make = lambda: Scripted(Messages(), hostname="stub", tls_context=context, loop=loop, timeout=3600)
    server = await loop.create_server(make, "127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0)
    say(port=server.sockets[0].getsockname()[1])

    def listen():
        for line in sys.stdin:
            change = json.loads(line)
            if "sync" not in change:
                loop.call_soon_threadsafe(faults.append if change else lambda _: faults.clear(), change)
            say(heard=True)
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=listen, daemon=True).start()
    await server.serve_forever()


try:
    asyncio.run(main())
except (RuntimeError, KeyboardInterrupt):
    pass
