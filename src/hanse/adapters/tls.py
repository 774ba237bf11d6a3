"""TLS contexts whose certificates are swapped while connections come and go.

Python's `ssl` reads certificates from files only; they pass through an anonymous file in memory, never the disk.
"""

from __future__ import annotations

import os
import ssl


def server_context(chain_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """A TLS 1.3 server context; `reload_chain` swaps its certificate for new handshakes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    reload_chain(context, chain_pem, key_pem)
    return context


def client_context(bundle_pem: bytes) -> ssl.SSLContext:
    """A TLS 1.3 client context that trusts this bundle alone and checks host names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=bundle_pem.decode())
    return context


def reload_chain(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Use this certificate and key from the next handshake on."""
    descriptor = os.memfd_create("hanse-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, chain_pem + b"\n" + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
