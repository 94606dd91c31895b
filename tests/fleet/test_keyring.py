"""The keyring file, the key file, and the keys in memory."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.errors import (
    DamagedError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    RefusedError,
    StorageError,
    UnauthenticatedError,
)
from covey.fleet.key_file import make_key_file, read_key_file
from covey.fleet.keyring import (
    Argon2Cost,
    KeyFileSlot,
    Keyring,
    PasswordSlot,
    create_keyring,
    decode_keyring,
    encode_keyring,
    open_with_key,
    open_with_password,
    read_keyring,
    write_keyring,
)
from covey.fleet.live_keys import LiveKeys
from covey.fleet.node_secrets import GenerationKey, KeyRing, NodeSecrets
from covey.fleet.private_file import create_private_file
from covey.operations.secret import Secret
from covey.store.ports import DataKeys, Signer
from tests.fleet.statement_maker import NODES

CHEAP = Argon2Cost(memory_kib=64, iterations=1, lanes=1)
PASSWORD = Secret("correct horse battery")
KEY = b"k" * 64
SECRETS = NodeSecrets(
    name="frigg",
    fleet_id="0" * 32,
    fleet_name="home",
    sign_seed=NODES[0].sign_seed,
    seal_seed=NODES[0].seal_seed,
    database_key=b"d" * 32,
    certificate=b"certificate",
    authorities=(b"authority",),
    generations=(GenerationKey(0, b"g" * 32),),
)
WITH_PASSWORD = create_keyring(SECRETS, password=PASSWORD, cost=CHEAP)


def test_the_password_opens_it() -> None:
    again = decode_keyring(encode_keyring(WITH_PASSWORD.keyring))
    assert open_with_password(again, PASSWORD).secrets == SECRETS


def test_the_default_cost_is_that_of_rfc_9106() -> None:
    opened = create_keyring(SECRETS, password=PASSWORD)
    (slot,) = opened.keyring.slots
    assert isinstance(slot, PasswordSlot)
    assert (slot.cost.memory_kib, slot.cost.iterations, slot.cost.lanes) == (65536, 3, 4)
    assert len(slot.salt) == 16
    assert open_with_password(opened.keyring, PASSWORD).secrets == SECRETS


def test_a_wrong_password_is_told_with_a_way_out() -> None:
    with pytest.raises(UnauthenticatedError, match=r"The master password is wrong\.") as caught:
        open_with_password(WITH_PASSWORD.keyring, Secret("correct horse batterz"))
    assert "recover" in (caught.value.hint or "")


def test_no_secret_shows_in_the_file_or_in_repr() -> None:
    data = encode_keyring(WITH_PASSWORD.keyring)
    assert b"frigg" not in data
    for shown in (repr(WITH_PASSWORD), repr(SECRETS), repr(SECRETS.ring), repr(SECRETS.identity)):
        assert "g" * 8 not in shown
        assert "database" not in shown


@settings(max_examples=200)
@given(st.data())
def test_a_tampered_file_never_opens(data: st.DataObject) -> None:
    raw = bytearray(encode_keyring(WITH_PASSWORD.keyring))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        keyring = decode_keyring(bytes(raw))
    except (DamagedError, InvalidRequestError):
        return
    assert keyring == WITH_PASSWORD.keyring, "only white space may differ"


def test_tampering_with_a_matching_checksum_is_found_by_the_seal() -> None:
    secrets = bytearray(WITH_PASSWORD.keyring.secrets)
    secrets[-1] ^= 1
    forged = _with_checksum(msgspec.structs.replace(WITH_PASSWORD.keyring, secrets=bytes(secrets)))
    with pytest.raises(DamagedError, match="altered"):
        open_with_password(decode_keyring(encode_keyring(forged)), PASSWORD)


def test_weaker_parameters_cannot_be_put_in() -> None:
    (slot,) = WITH_PASSWORD.keyring.slots
    assert isinstance(slot, PasswordSlot)
    weaker = msgspec.structs.replace(slot, cost=Argon2Cost(memory_kib=32, iterations=1, lanes=1))
    forged = _with_checksum(msgspec.structs.replace(WITH_PASSWORD.keyring, slots=(weaker,)))
    with pytest.raises(UnauthenticatedError):
        open_with_password(forged, PASSWORD)


def test_a_slot_cannot_be_pointed_at_another_file() -> None:
    keyring = create_keyring(SECRETS, key_file=(Path("/nowhere/key"), KEY)).keyring
    (slot,) = keyring.slots
    assert isinstance(slot, KeyFileSlot)
    moved = msgspec.structs.replace(slot, path="/tmp/key")
    forged = _with_checksum(msgspec.structs.replace(keyring, slots=(moved,)))
    with pytest.raises(UnauthenticatedError):
        open_with_key(forged, KEY)


def test_damage_and_newer_formats_are_named() -> None:
    with pytest.raises(DamagedError, match="not a keyring"):
        decode_keyring(b"{}")
    with pytest.raises(DamagedError, match="checksum"):
        decode_keyring(encode_keyring(msgspec.structs.replace(WITH_PASSWORD.keyring, node_id="x")))
    with pytest.raises(InvalidRequestError, match="format 9"):
        decode_keyring(encode_keyring(msgspec.structs.replace(WITH_PASSWORD.keyring, version=9)))


def test_short_passwords_and_no_opener_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="too short"):
        create_keyring(SECRETS, password=Secret("secret"), cost=CHEAP)
    with pytest.raises(InvalidRequestError, match="master password or a key file"):
        create_keyring(SECRETS)


def test_changing_the_password() -> None:
    changed = WITH_PASSWORD.with_password(Secret("another long one"), CHEAP).keyring
    assert open_with_password(changed, Secret("another long one")).secrets == SECRETS
    with pytest.raises(UnauthenticatedError):
        open_with_password(changed, PASSWORD)


def test_a_key_file_opens_it_beside_the_password(tmp_path: Path) -> None:
    path = tmp_path / "key"
    both = WITH_PASSWORD.with_key_file(path, KEY).keyring
    assert both.key_file == path
    assert both.has_password
    assert open_with_key(both, KEY).secrets == SECRETS
    assert open_with_password(both, PASSWORD).secrets == SECRETS
    with pytest.raises(UnauthenticatedError, match=r"key file .* does not fit"):
        open_with_key(both, b"x" * 64)
    with pytest.raises(InvalidRequestError, match="master password"):
        open_with_key(WITH_PASSWORD.keyring, KEY)
    alone = create_keyring(SECRETS, key_file=(path, KEY)).keyring
    assert not alone.has_password
    with pytest.raises(InvalidRequestError, match="key file"):
        open_with_password(alone, PASSWORD)


def test_the_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    with pytest.raises(NotFoundError, match="not in a fleet"):
        read_keyring(path)
    write_keyring(path, WITH_PASSWORD.keyring)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_keyring(path, WITH_PASSWORD.with_password(Secret("another long one"), CHEAP).keyring)
    assert open_with_password(read_keyring(path), Secret("another long one")).secrets == SECRETS
    assert [found.name for found in tmp_path.iterdir()] == ["keyring.json"]
    with pytest.raises(StorageError, match="cannot be written"):
        write_keyring(tmp_path / "none" / "keyring.json", WITH_PASSWORD.keyring)
    with pytest.raises(StorageError, match="cannot be read"):
        read_keyring(tmp_path)


def test_a_key_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "covey.key"
    key = make_key_file(path)
    assert len(key) >= 32
    assert make_key_file(path) == read_key_file(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StorageError):
        create_private_file(path, b"again")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "covey.key"
    make_key_file(path)
    path.chmod(mode)
    with pytest.raises(RefusedError, match="other users") as caught:
        make_key_file(path)
    assert "chmod 600" in (caught.value.hint or "")


def test_unfit_key_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        read_key_file(tmp_path / "none")
    short = tmp_path / "short"
    create_private_file(short, b"too short")
    with pytest.raises(RefusedError, match="too short"):
        read_key_file(short)
    with pytest.raises((RefusedError, StorageError)):
        read_key_file(tmp_path)


def live(saved: list[Keyring]) -> LiveKeys:
    return LiveKeys(WITH_PASSWORD, saved.append)


def ports(keys: LiveKeys) -> tuple[DataKeys, Signer]:
    return keys, keys


def test_live_keys_serve_the_store_and_learn() -> None:
    saved: list[Keyring] = []
    keys = live(saved)
    data_keys, signer = ports(keys)
    assert signer.node_id == NODES[0].node_id
    assert signer.signing_key.public_key().public_bytes_raw() == NODES[0].sign_public
    old, new = SECRETS.generations[0], GenerationKey.generate(1)
    assert data_keys.current() == (old.id, old.key)
    assert keys.learn(KeyRing((new, old)), certificate=b"newer")
    assert data_keys.current() == (new.id, new.key)
    assert list(data_keys.generations()) == [new.id, old.id]
    assert data_keys.key(old.id) == old.key
    assert data_keys.key(b"unknown") is None
    assert not keys.learn(KeyRing((old,)))
    assert len(saved) == 1
    assert open_with_password(saved[0], PASSWORD).secrets == keys.secrets
    assert keys.secrets.certificate == b"newer"


def test_dropped_keys_are_gone() -> None:
    keys = live([])
    keys.drop()
    assert not keys.unlocked
    assert keys.node_id == NODES[0].node_id
    for use in (
        keys.current,
        keys.generations,
        lambda: keys.key(b""),
        lambda: keys.secrets,
        lambda: keys.signing_key,
        lambda: keys.learn(certificate=b"x"),
    ):
        with pytest.raises(LockedError, match="locked"):
            use()


def test_a_failed_save_leaves_the_keys_as_they_were() -> None:
    def full(_keyring: Keyring) -> None:
        raise StorageError("The disk is full.")

    keys = LiveKeys(WITH_PASSWORD, full)
    with pytest.raises(StorageError):
        keys.learn(KeyRing((GenerationKey.generate(7),)))
    assert keys.secrets == SECRETS
    assert len(keys.generations()) == 1


def test_slots_are_told_apart() -> None:
    path = Path("/nowhere/key")
    keyring = create_keyring(SECRETS, key_file=(path, KEY)).keyring
    assert [type(slot) for slot in keyring.slots] == [KeyFileSlot]


def _with_checksum(keyring: Keyring) -> Keyring:
    from covey.fleet.keyring import _checksum

    return msgspec.structs.replace(keyring, checksum=_checksum(keyring))
