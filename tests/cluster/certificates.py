"""Keys and certificates of a test cluster: one authority, one server certificate, one service-account key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=365)
"""Longer than the 90 days for which the Training Operator's rotator wants its certificate to stay valid."""


@dataclass(frozen=True)
class Certificates:
    """PEM files of a cluster, all in one folder under the names that webhook servers look for."""

    folder: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority that signed the server certificate."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """Certificate of every server of the cluster."""
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        """Key of `certificate`."""
        return self.folder / "tls.key"

    @property
    def service_accounts(self) -> Path:
        """Key that signs the tokens of service accounts."""
        return self.folder / "service-accounts.key"


def create_certificates(folder: Path, authority_name: str, names: list[str]) -> Certificates:
    """Write a fresh set for 127.0.0.1 and `names` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    certificates = Certificates(folder)
    signer, server, service_accounts = (rsa.generate_private_key(65537, 2048) for _ in range(3))
    issuer = _name(authority_name)
    # The rotator of the Training Operator looks for its authority under a DNS name.
    ca = _certificate(issuer, issuer, signer, signer, [authority_name], is_authority=True)
    leaf = _certificate(issuer, _name("hyperflow-test"), server, signer, [*names, "localhost"], is_authority=False)
    _write(certificates.authority, ca.public_bytes(serialization.Encoding.PEM))
    _write(folder / "ca.key", _private(signer))
    _write(certificates.certificate, leaf.public_bytes(serialization.Encoding.PEM))
    _write(certificates.key, _private(server))
    _write(certificates.service_accounts, _private(service_accounts))
    return certificates


def _certificate(
    issuer: x509.Name,
    subject: x509.Name,
    key: rsa.RSAPrivateKey,
    signer: rsa.RSAPrivateKey,
    names: list[str],
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    addresses: list[x509.GeneralName] = [] if is_authority else [x509.IPAddress(ip_address("127.0.0.1"))]
    alternatives = addresses + [x509.DNSName(name) for name in names]
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_usage(is_authority), critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
