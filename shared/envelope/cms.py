"""The small structures of CMS: signer infos with their attributes, recipient infos, certificate sets.

Both kinds of signed file use them: the report, whose outer levels stream (`seal`, `opening`), and signed text
(`textsign`). Each structure has one encoding. Readers raise `Malformed` for octets that are not it and `SignatureRefused`
for well-formed octets that vouch for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.envelope import der, suites
from shared.envelope.chain import MAX_CERTIFICATE_BYTES, load_certificate, path_order
from shared.envelope.der import Malformed, Reader
from shared.errors import SignatureRefused
from shared.keys.port import Decrypter, Signer
from shared.text import Text

MAX_CERTIFICATES: Final = 8
MAX_RECIPIENTS: Final = 16
MAX_CERTIFICATES_BYTES: Final = MAX_CERTIFICATES * MAX_CERTIFICATE_BYTES
MAX_RECIPIENT_BYTES: Final = 4096
MAX_RECIPIENTS_BYTES: Final = MAX_RECIPIENTS * MAX_RECIPIENT_BYTES
MAX_SIGNER_INFOS_BYTES: Final = 32768

ID_DATA: Final = der.object_identifier("1.2.840.113549.1.7.1")
ID_SIGNED_DATA: Final = der.object_identifier("1.2.840.113549.1.7.2")
ID_AUTH_ENVELOPED_DATA: Final = der.object_identifier("1.2.840.113549.1.9.16.1.23")

_CONTENT_TYPE: Final = der.object_identifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = der.object_identifier("1.2.840.113549.1.9.4")
_SIGNING_TIME: Final = der.object_identifier("1.2.840.113549.1.9.5")
_SMIME_CAPABILITIES: Final = der.object_identifier("1.2.840.113549.1.9.15")
_CONTENT_HINT: Final = der.object_identifier("1.2.840.113549.1.9.16.2.4")
_SIGNING_CERTIFICATE: Final = der.object_identifier("1.2.840.113549.1.9.16.2.47")

# --- certificates --------------------------------------------------------------------------------------------------


def issuer_and_serial(certificate: x509.Certificate) -> bytes:
    """Return the IssuerAndSerialNumber that names a certificate: the very octets of its own fields."""
    to_be_signed = Reader(certificate.tbs_certificate_bytes).enter(der.SEQUENCE)
    if to_be_signed.peek() == der.context(0):
        to_be_signed.read(der.context(0))
    serial = to_be_signed.read_whole(der.INTEGER)
    to_be_signed.read(der.SEQUENCE)
    return der.sequence(to_be_signed.read_whole(der.SEQUENCE), serial)


def encoded(certificate: x509.Certificate) -> bytes:
    """Return the certificate's octets."""
    return certificate.public_bytes(Encoding.DER)


def certificate_set(signer: Signer) -> bytes:
    """Return the `certificates` field: the signer's certificate first, then its intermediates.

    Raises:
        ValueError: More certificates than a reader takes.
    """
    bundle = (signer.certificate, *signer.chain)
    if len(bundle) > MAX_CERTIFICATES:
        raise ValueError(f"{len(bundle)} certificates")
    return der.element(der.context(0), *(encoded(each) for each in bundle))


def parse_certificate_set(content: bytes) -> list[bytes]:
    """Return the certificates of a `certificates` field, unparsed.

    Raises:
        Malformed: None, too many, too large, twice the same, in another spelling, or something else among them.
    """
    found: list[bytes] = []
    reader = Reader(content)
    while not reader.at_end:
        found.append(reader.read_whole(der.SEQUENCE))
        if len(found) > MAX_CERTIFICATES or len(found[-1]) > MAX_CERTIFICATE_BYTES:
            raise Malformed(Text("证书过多或过大", "too many or too large certificates"))
        _check_certificate_frame(found[-1])
    if not found or len(set(found)) != len(found):
        raise Malformed(Text("缺少证书或证书重复", "no certificate, or one twice"))
    return found


def _check_certificate_frame(whole: bytes) -> None:
    """Check what stands around the part that an issuer signs: libraries take more than one spelling of it.

    The algorithm outside must be the one inside, and the signature's octets must be whole: a stated number of unused
    bits is otherwise ignored.
    """
    certificate = Reader(whole).enter(der.SEQUENCE)
    to_be_signed = certificate.enter(der.SEQUENCE)
    algorithm = certificate.read_whole(der.SEQUENCE)
    signature = certificate.read(der.BIT_STRING)
    certificate.finish()
    if to_be_signed.peek() == der.context(0):
        to_be_signed.read(der.context(0))
    to_be_signed.read(der.INTEGER)
    if to_be_signed.read_whole(der.SEQUENCE) != algorithm or signature[:1] != b"\x00":
        raise Malformed(Text("证书不是唯一写法", "a certificate in another spelling"))


# --- signer infos --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignerInfo:
    """A signer info whose signature holds against a certificate that came with it.

    Nobody vouches for the certificate yet.

    Attributes:
        certificate: The signer's.
        chain: The other certificates of the file, in its order; in that of the path if OpenSSL sorted them.
        signing_time: As the signer claims.
        attributes: The DER SET OF signedAttrs, the octets that are signed.
        hint: The contentDescription, if the profile has one.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    signing_time: datetime
    attributes: bytes
    hint: bytes | None


def _attribute(kind: bytes, value: bytes) -> bytes:
    return der.sequence(kind, der.element(der.SET, value))


def _signing_certificate(certificate_sha256: bytes, issuer_serial: bytes = b"") -> bytes:
    # ESSCertIDv2 with its default hash algorithm, SHA-256, left out as DER demands (RFC 5035).
    return der.sequence(der.sequence(der.sequence(der.octet_string(certificate_sha256), issuer_serial)))


def _ess_issuer_serial(certificate: x509.Certificate) -> bytes:
    reader = Reader(issuer_and_serial(certificate)).enter(der.SEQUENCE)
    issuer = reader.read_whole(der.SEQUENCE)
    return der.sequence(der.sequence(der.element(der.context(4), issuer)), reader.read_whole(der.INTEGER))


def signed_attributes(signer: Signer, digest: bytes, *, signing_time: datetime, hint: bytes | None) -> bytes:
    """Return the DER SET OF signed attributes: four, and contentHint if there is a hint (ENV-8).

    Args:
        signer: Whose certificate is bound.
        digest: SHA-256 of the content.
        signing_time: Claimed time, written to the second.
        hint: UTF-8 octets of the contentDescription.
    """
    attributes = [
        _attribute(_CONTENT_TYPE, ID_DATA),
        _attribute(_MESSAGE_DIGEST, der.octet_string(digest)),
        _attribute(_SIGNING_TIME, der.time(signing_time)),
        _attribute(_SIGNING_CERTIFICATE, _signing_certificate(suites.sha256(encoded(signer.certificate)))),
    ]
    if hint is not None:
        attributes.append(_attribute(_CONTENT_HINT, der.sequence(der.element(der.UTF8_STRING, hint), ID_DATA)))
    return der.set_of(attributes)


def signer_infos(signer: Signer, attributes: bytes) -> bytes:
    """Sign the attributes and return the `signerInfos` field with its one member (ENV-9).

    Args:
        signer: The key.
        attributes: A DER SET OF attributes.

    Raises:
        KeyUnavailable: The key cannot be used now. Nothing was signed.
    """
    return der.set_of(
        [
            der.sequence(
                der.integer(1),
                issuer_and_serial(signer.certificate),
                suites.SHA256,
                # The same octets as signed, but for the identifier: [0] IMPLICIT here, SET OF under the signature.
                bytes((der.context(0),)) + attributes[1:],
                suites.SIGNATURE_IDENTIFIERS[signer.algorithm],
                der.octet_string(signer.sign(attributes)),
            )
        ]
    )


def parse_signer_infos(
    content: bytes, bundle: Sequence[bytes], digest: bytes, *, hinted: bool, foreign: bool = False
) -> SignerInfo:
    """Check a `signerInfos` field against the certificates and the content, and the signature itself.

    Args:
        content: The content octets of the SET.
        bundle: The file's certificates; the signer's comes first.
        digest: SHA-256 of the content that was read.
        hinted: Whether contentHint must be there; else it must not.
        foreign: Whether what OpenSSL writes is taken too: smimeCapabilities beside our attributes, and then, because
            the attribute is under the signature and says who wrote it, `rsaEncryption` as an RSA signer's algorithm and
            certificates in any order. Nothing else of a file gets a second spelling by that.

    Raises:
        Malformed: Not the structure.
        SignatureRefused: No or several signers, another algorithm, content, certificate or attribute, a signature
            that does not verify.
        CertificateRefused: The signer's certificate does not parse or has a key of no listed kind.
    """
    reader = Reader(content)
    if reader.at_end:
        raise SignatureRefused(reason=Text("文件没有签名", "the file carries no signature"))
    info = reader.enter(der.SEQUENCE)
    if not reader.at_end:
        raise SignatureRefused(reason=Text("文件有多个签名", "the file carries more than one signature"))
    info.expect(der.integer(1), Text("签名者版本不符", "another version of signer info"))
    named = info.read_whole(der.SEQUENCE)
    if info.read_whole(der.SEQUENCE) != suites.SHA256:
        raise SignatureRefused(reason=Text("摘要算法不在列表中", "a digest algorithm that is not listed"))
    if info.peek() != der.context(0):
        raise SignatureRefused(reason=Text("签名没有属性", "the signature has no signed attributes"))
    attributes = der.element(der.SET, info.read(der.context(0)))
    identifier = info.read_whole(der.SEQUENCE)
    signature = info.read(der.OCTET_STRING)
    info.finish()

    values = _parse_attributes(attributes)
    from_openssl = foreign and _SMIME_CAPABILITIES in values
    required = {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME, _SIGNING_CERTIFICATE}
    required |= {_CONTENT_HINT} if hinted else set()
    required |= {_SMIME_CAPABILITIES} if from_openssl else set()
    if set(values) != required:
        raise SignatureRefused(reason=Text("签名属性不是规定的各项", "other signed attributes than the listed ones"))
    if values[_CONTENT_TYPE] != ID_DATA:
        raise SignatureRefused(reason=Text("内容类型不符", "another content type"))

    certificate, rest = _choose_certificate(bundle, named, values[_SIGNING_CERTIFICATE], from_openssl=from_openssl)
    algorithm = suites.signature_algorithm(certificate)
    expected = suites.SIGNATURE_IDENTIFIERS[algorithm]
    if from_openssl and expected == suites.RSA_SHA256:
        expected = suites.RSA_PLAIN
    if identifier != expected:
        raise SignatureRefused(reason=Text("签名算法不在列表中", "a signature algorithm that is not listed"))
    if values[_MESSAGE_DIGEST] != der.octet_string(digest):
        raise SignatureRefused(reason=Text("内容与签名的摘要不符", "the content is not what was signed"))
    suites.verify_signature(certificate, signature, attributes)
    chain = tuple(load_certificate(each) for each in rest)
    return SignerInfo(
        certificate,
        path_order(certificate, chain) if from_openssl else chain,
        der.parse_time(values[_SIGNING_TIME]),
        attributes,
        _parse_hint(values[_CONTENT_HINT]) if hinted else None,
    )


def _parse_attributes(attributes: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    reader = Reader(attributes).enter(der.SET)
    previous = b""
    while not reader.at_end:
        whole = reader.read_whole(der.SEQUENCE)
        if whole <= previous:
            raise Malformed(Text("签名属性的顺序不符", "signed attributes out of order"))
        previous = whole
        attribute = Reader(whole).enter(der.SEQUENCE)
        kind = attribute.read_whole(der.OBJECT_IDENTIFIER)
        value = attribute.enter(der.SET)
        attribute.finish()
        if kind in found:
            raise Malformed(Text("签名属性重复", "a signed attribute twice"))
        found[kind] = value.read_whole(value.peek())
        value.finish()
    return found


def _parse_hint(value: bytes) -> bytes:
    reader = Reader(value).enter(der.SEQUENCE)
    description = reader.read(der.UTF8_STRING)
    reader.expect(ID_DATA, Text("内容说明的类型不符", "a content hint of another type"))
    reader.finish()
    return description


def _choose_certificate(
    bundle: Sequence[bytes], named: bytes, bound: bytes, *, from_openssl: bool
) -> tuple[x509.Certificate, list[bytes]]:
    """Return the signer's certificate, which must be first unless OpenSSL sorted them, and the others."""
    for position, candidate in enumerate(bundle if from_openssl else bundle[:1]):
        digest = suites.sha256(candidate)
        # The signed hash is compared before anything of the certificate is parsed.
        if digest not in bound:
            continue
        certificate = load_certificate(candidate)
        accepted = [_signing_certificate(digest)]
        if from_openssl:
            accepted.append(_signing_certificate(digest, _ess_issuer_serial(certificate)))
        if bound in accepted and issuer_and_serial(certificate) == named:
            return certificate, [*bundle[:position], *bundle[position + 1 :]]
    raise SignatureRefused(
        reason=Text("签名所绑定的证书不在文件中", "the certificate that the signature names is not with it")
    )


# --- recipient infos -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecipientId:
    """Names a recipient's certificate.

    Attributes:
        issuer_der: Its issuer's distinguished name, DER.
        serial: Its serial number.
    """

    issuer_der: bytes
    serial: int

    def matches(self, certificate: x509.Certificate) -> bool:
        """Return whether this names `certificate`."""
        return recipient_id(certificate) == self


def recipient_id(certificate: x509.Certificate) -> RecipientId:
    """Return the name of a certificate as recipient."""
    return _parse_recipient_id(issuer_and_serial(certificate))


def _parse_recipient_id(whole: bytes) -> RecipientId:
    reader = Reader(whole).enter(der.SEQUENCE)
    found = RecipientId(reader.read_whole(der.SEQUENCE), der.parse_integer(reader.read(der.INTEGER)))
    reader.finish()
    return found


@dataclass(frozen=True)
class TransportedKey:
    """A content key encrypted to an RSA key.

    Attributes:
        recipient: For whom.
        encrypted_key: RSAES-OAEP ciphertext.
    """

    recipient: RecipientId
    encrypted_key: bytes

    def unwrap(self, decrypter: Decrypter) -> bytes:
        """Return the content key.

        Raises:
            ValueError: It does not open.
        """
        return decrypter.unwrap_rsa_oaep(self.encrypted_key)


@dataclass(frozen=True)
class AgreedKey:
    """A content key wrapped under a key agreed with a P-256 key.

    Attributes:
        recipient: For whom.
        ephemeral_point: The sender's uncompressed point, used once.
        wrapped_key: AES-256 key wrap (RFC 3394).
    """

    recipient: RecipientId
    ephemeral_point: bytes
    wrapped_key: bytes

    def unwrap(self, decrypter: Decrypter) -> bytes:
        """Return the content key.

        Raises:
            ValueError: It does not open.
        """
        try:
            return aes_key_unwrap(_key_encryption_key(decrypter.agree_p256(self.ephemeral_point)), self.wrapped_key)
        except InvalidUnwrap:
            raise ValueError("the wrapped key does not open") from None


RecipientInfo = TransportedKey | AgreedKey

_VERSION_0: Final = der.integer(0)
_VERSION_3: Final = der.integer(3)
# RFC 5753 section 7.2: no ukm, and the length of the key-encryption key in bits.
_SHARED_INFO: Final = der.sequence(
    suites.AES256_WRAP,
    der.element(der.context(2), der.octet_string((suites.KEY_BYTES * 8).to_bytes(4, "big"))),
)


def _key_encryption_key(shared_secret: bytes) -> bytes:
    return X963KDF(hashes.SHA256(), suites.KEY_BYTES, _SHARED_INFO).derive(shared_secret)


def recipient_infos(recipients: Sequence[x509.Certificate], content_key: bytes) -> bytes:
    """Return the `recipientInfos` field: the content key for each recipient, in DER order (ENV-6).

    Args:
        recipients: Bureau-envelope certificates, proven by the caller.
        content_key: 32 octets.

    Raises:
        ValueError: None, too many, or one twice.
        CertificateRefused: A key of no listed kind.
    """
    if not 1 <= len(recipients) <= MAX_RECIPIENTS or len({recipient_id(each) for each in recipients}) < len(recipients):
        raise ValueError(f"{len(recipients)} recipients, or one twice")
    return der.set_of(_recipient_info(each, content_key) for each in recipients)


def _recipient_info(certificate: x509.Certificate, content_key: bytes) -> bytes:
    key = suites.public_key(certificate)
    name = issuer_and_serial(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return der.sequence(_VERSION_0, name, suites.OAEP_SHA256, der.octet_string(key.encrypt(content_key, oaep)))
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    wrapped = aes_key_wrap(_key_encryption_key(ephemeral.exchange(ec.ECDH(), key)), content_key)
    return der.element(
        der.context(1),
        _VERSION_3,
        der.element(der.context(0), der.element(der.context(1), suites.EC_PUBLIC_KEY, der.bit_string(point))),
        suites.ECDH_SHA256KDF,
        der.sequence(der.sequence(name, der.octet_string(wrapped))),
    )


def parse_recipient_infos(whole: bytes) -> tuple[RecipientInfo, ...]:
    """Return the recipients of an encoded `recipientInfos` field.

    Raises:
        Malformed: Not the structure, an algorithm that is not listed, out of order, one recipient twice, too many.
    """
    outer = Reader(whole)
    reader = outer.enter(der.SET)
    outer.finish()
    found: list[RecipientInfo] = []
    previous = b""
    while not reader.at_end:
        agreed = reader.peek() == der.context(1)
        item = reader.read_whole(der.context(1) if agreed else der.SEQUENCE)
        if item <= previous or len(found) == MAX_RECIPIENTS:
            raise Malformed(Text("接收方顺序不符或过多", "recipients out of order, or too many"))
        previous = item
        found.append(_parse_agreed(item) if agreed else _parse_transported(item))
    if not found or len({each.recipient for each in found}) != len(found):
        raise Malformed(Text("没有接收方或接收方重复", "no recipient, or one twice"))
    return tuple(found)


_KEY_ALGORITHM: Final = Text("密钥加密算法不在列表中", "a key encryption algorithm that is not listed")


def _parse_transported(item: bytes) -> TransportedKey:
    reader = Reader(item).enter(der.SEQUENCE)
    reader.expect(_VERSION_0, Text("接收方版本不符", "another version of recipient info"))
    recipient = _parse_recipient_id(reader.read_whole(der.SEQUENCE))
    reader.expect(suites.OAEP_SHA256, _KEY_ALGORITHM)
    encrypted = reader.read(der.OCTET_STRING)
    reader.finish()
    if not suites.MIN_RSA_BITS <= len(encrypted) * 8 <= suites.MAX_RSA_BITS:
        raise Malformed(Text("加密密钥的长度不符", "an encrypted key of another length"))
    return TransportedKey(recipient, encrypted)


def _parse_agreed(item: bytes) -> AgreedKey:
    reader = Reader(item).enter(der.context(1))
    reader.expect(_VERSION_3, Text("接收方版本不符", "another version of recipient info"))
    originator = reader.enter(der.context(0))
    key = originator.enter(der.context(1))
    originator.finish()
    key.expect(suites.EC_PUBLIC_KEY, _KEY_ALGORITHM)
    point = key.read(der.BIT_STRING)
    key.finish()
    reader.expect(suites.ECDH_SHA256KDF, _KEY_ALGORITHM)
    keys = reader.enter(der.SEQUENCE)
    reader.finish()
    entry = keys.enter(der.SEQUENCE)
    keys.finish()
    recipient = _parse_recipient_id(entry.read_whole(der.SEQUENCE))
    wrapped = entry.read(der.OCTET_STRING)
    entry.finish()
    # Unused bits: none; then the mark of an uncompressed point.
    if len(point) != suites.POINT_BYTES + 1 or point[:2] != b"\x00\x04" or len(wrapped) != suites.WRAPPED_KEY_BYTES:
        raise Malformed(Text("加密密钥的长度不符", "an encrypted key of another length"))
    return AgreedKey(recipient, point[1:], wrapped)


def find_recipient(infos: Sequence[RecipientInfo], certificate: x509.Certificate) -> RecipientInfo | None:
    """Return the recipient info for a certificate, or None."""
    wanted = recipient_id(certificate)
    return next((each for each in infos if each.recipient == wanted), None)
