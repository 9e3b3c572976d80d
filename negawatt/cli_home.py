"""``negawatt consent`` and ``negawatt home``: what owners sign, and what they can do on the chain."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from domain.errors import InvalidEventError, NegawattError
from negawatt.cli_base import CONTEXT, EXISTING_FILE, Context, Group, as_json, chain_flags, show_records
from negawatt.console import money

if TYPE_CHECKING:
    from serving.chain import Chain
    from serving.consents import Message
    from serving.deployment import Contracts
    from serving.published import Published

YEAR_S = 365 * 86_400

Command = Callable[..., None]


@click.group(cls=Group, context_settings=CONTEXT, short_help="Owners' consent to be registered.")
def consent() -> None:
    """Ask owners for their signed consent, sign one, and bring them back.

    \b
    The operator writes what each owner is asked to sign; the owner signs it, in a wallet that shows typed data
    (eth_signTypedData_v4) or with `negawatt consent sign`; the operator adds what comes back. `negawatt announce`
    registers those who agreed. Demonstration wallets of simulated homes agree by themselves.
      negawatt consent request requests
      negawatt consent sign requests/home-0001.json --owner-keystore home.json --owner-password-file home.password
      negawatt consent add requests/*.json
    """


@consent.command("request", short_help="Write what owners are asked to sign.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--days", default=90, show_default=True, help="Days until a signature is needed at the latest.")
@click.option(
    "--each-event",
    is_flag=True,
    help="Ask for no standing permission: the owner then opts in to each event by `negawatt home choose`.",
)
@chain_flags
@as_json
@click.pass_obj
def request_consents(ctx: Context, folder: Path, days: int, each_event: bool) -> None:
    """Write a file into FOLDER for each home that is not registered as the workspace's resources say.

    The contracts must be on the chain already: their address is part of what is signed. `negawatt deploy` puts them
    there.
    """
    from domain.certificates import resource_key  # noqa: PLC0415  heavy imports wait until they are needed
    from serving.consents import consent_message, write_message  # noqa: PLC0415

    written = []
    folder.mkdir(parents=True, exist_ok=True)
    with _open(ctx, None) as (chain, contracts):
        salt, deadline = ctx.workspace.salt(), int(chain.now().timestamp()) + days * 86_400
        for meter, resource in ctx.workspace.resources().items():
            key = resource_key(salt, meter)
            owner, contracted_w, _, nonce, _, active = contracts.registry.functions.resourceOf(key).call()
            if active and (owner.lower(), contracted_w) == (resource.wallet, resource.contracted_w):
                continue
            message = consent_message(
                contracts.registry.address,
                chain.chain_id,
                key,
                resource.wallet,
                resource.contracted_w,
                standing=not each_event,
                nonce=nonce,
                deadline=deadline,
            )
            write_message(folder / f"{meter}.json", message)
            written.append(str(folder / f"{meter}.json"))
    ctx.screen.document({"written": written})
    ctx.screen.say(f"{len(written):,} requests in {folder}, to be signed within {days} days")


@consent.command("sign", short_help="Sign a request with the owner's key.")
@click.argument("files", nargs=-1, required=True, type=EXISTING_FILE)
@click.option("--owner-keystore", type=EXISTING_FILE, required=True, help="The owner's encrypted key file.")
@click.option(
    "--owner-password-file", type=EXISTING_FILE, required=True, help="File with its password, readable by you alone."
)
@as_json
@click.pass_obj
def sign(ctx: Context, files: tuple[Path, ...], owner_keystore: Path, owner_password_file: Path) -> None:
    """Sign FILES, which `negawatt consent request` wrote, and write the signature into them."""
    from serving.consents import read_message, write_message  # noqa: PLC0415
    from serving.signers import open_keystore  # noqa: PLC0415

    account = open_keystore(owner_keystore, owner_password_file)
    for path in files:
        message, _ = read_message(path)
        if str(message.values.get("owner", account.address)).lower() != account.address.lower():
            raise NegawattError(
                f"{path} is for {message.values['owner']} to sign, and this key is {account.address}'s"
            )
        write_message(path, message, message.sign(account.key))
    ctx.screen.document({"signed": [str(path) for path in files], "by": account.address})
    ctx.screen.say(f"{len(files)} signed by {account.address}")


@consent.command("add", short_help="Take signed consents into the workspace.")
@click.argument("files", nargs=-1, required=True, type=EXISTING_FILE)
@as_json
@click.pass_obj
def add(ctx: Context, files: tuple[Path, ...]) -> None:
    """Check the signatures in FILES and keep them, for `negawatt announce` to register the homes."""
    from negawatt.workspace import write_whole  # noqa: PLC0415
    from serving.consents import read_message, signed_consent  # noqa: PLC0415

    for path in files:
        message, signature = read_message(path)
        if message.kind != "Consent" or signature is None:
            raise NegawattError(f"{path} is no signed consent: have its owner sign it with `negawatt consent sign`")
        agreed = signed_consent(message, signature)
        write_whole(ctx.workspace.consents / f"{agreed.resource.hex()}.json", path.read_bytes())
    ctx.screen.document({"added": len(files)})
    ctx.screen.say(f"{len(files)} consents kept; `negawatt announce` registers their homes")


@click.group(cls=Group, context_settings=CONTEXT, short_help="A household's side: choose, dispute, claim.")
def home() -> None:
    """What an owner can do without the operator's help: look, choose, dispute, claim, leave.

    METER is a meter of this workspace or a resource's hash (0x and 64 digits). Who isn't the operator names the
    contract by --contract, and a published file by --certificates. The owner signs with --owner-keystore; the
    account of --keystore pays the gas and may be anyone's.
    """


def home_flags(command: Command) -> Command:
    """Flags that all of a household's commands share."""
    for option in (
        click.option("--contract", help="Address of the DemandResponse contract; default: the workspace's."),
        chain_flags,
        as_json,
    ):
        command = option(command)
    return command


def owner_flags(command: Command) -> Command:
    """Flags that name the owner's key."""
    for option in (
        click.option(
            "--owner-password-file", type=EXISTING_FILE, help="File with its password, readable by you alone."
        ),
        click.option(
            "--owner-keystore",
            type=EXISTING_FILE,
            help="The owner's encrypted key file; not needed for demonstration wallets.",
        ),
    ):
        command = option(command)
    return command


CERTIFICATES = click.option("--certificates", type=EXISTING_FILE, help="Published file; default: the workspace's.")


@home.command(short_help="Coins, credit, and what can be claimed.")
@click.argument("wallet")
@click.option("--event", help="Also what the wallet can claim of this event.")
@CERTIFICATES
@home_flags
@click.pass_obj
def balance(ctx: Context, wallet: str, event: str | None, certificates: Path | None, contract: str | None) -> None:
    """Show what WALLET has: an address, or a meter of this workspace."""
    from serving.households import Household  # noqa: PLC0415

    address = wallet if wallet.startswith("0x") else _resource(ctx, wallet).wallet
    with _open(ctx, contract, reader=True) as (chain, contracts):
        published = _published(ctx, event, certificates) if event or certificates else None
        final = None if published is None or published.provisional else published.certificates
        held = Household(chain, contracts).holding(address, final)
        decimals = contracts.coin.functions.decimals().call()
        symbol = contracts.coin.functions.symbol().call()
    expected = _expected(published, address)
    ctx.screen.document(
        {**asdict(held), "provisional_payment": expected, "symbol": symbol, "decimals": decimals},
    )
    amounts = [money(amount, decimals, symbol) for amount in (held.balance, held.credit, held.claimable)]
    ctx.screen.say(f"Wallet {held.wallet}")
    ctx.screen.table("", ("coins", "credit", "to claim"), [amounts])
    if expected is not None:
        ctx.screen.say(
            f"  {event} earns it {money(expected, decimals, symbol)}, provisionally: that may still change"
        )


@home.command(short_help="Opt in to an event or out of it.")
@click.argument("event")
@click.argument("meter")
@click.option("--in/--out", "takes_part", required=True, help="Whether the home takes part.")
@owner_flags
@home_flags
@click.pass_obj
def choose(
    ctx: Context,
    event: str,
    meter: str,
    takes_part: bool,
    owner_keystore: Path | None,
    owner_password_file: Path | None,
    contract: str | None,
) -> None:
    """Sign, and bring on chain, whether METER takes part in EVENT. Possible until the event starts."""
    from serving.households import Household  # noqa: PLC0415

    with _open(ctx, contract) as (chain, contracts):
        house = Household(chain, contracts)
        deadline = int(chain.now().timestamp()) + YEAR_S
        message = house.choice(event, resource_hash(ctx, meter), takes_part=takes_part, deadline=deadline)
        sent = house.choose(event, [(message, _sign(ctx, message, meter, owner_keystore, owner_password_file))])
    show_records(ctx, f"{meter} {'takes part in' if takes_part else 'stays out of'} {event}", [sent])


@home.command(short_help="Dispute a certification.")
@click.argument("event")
@click.argument("meter")
@click.option("--reason", required=True, help="Text, or a file with it. Its SHA-256 goes on chain; keep the text.")
@owner_flags
@home_flags
@click.pass_obj
def challenge(
    ctx: Context,
    event: str,
    meter: str,
    reason: str,
    owner_keystore: Path | None,
    owner_password_file: Path | None,
    contract: str | None,
) -> None:
    """Dispute EVENT's certification for METER, while the dispute window is open.

    The event can't become final, and nobody is paid, before the operator has answered with proof of what was
    certified for this home, or has taken the certification back.
    """
    from serving.households import Household  # noqa: PLC0415

    text = Path(reason).read_bytes() if Path(reason).is_file() else reason.encode()
    with _open(ctx, contract) as (chain, contracts):
        house = Household(chain, contracts)
        deadline = int(chain.now().timestamp()) + YEAR_S
        message = house.challenge_message(event, resource_hash(ctx, meter), hashlib.sha256(text).digest(), deadline)
        sent = house.challenge(message, _sign(ctx, message, meter, owner_keystore, owner_password_file))
    show_records(ctx, f"{meter} disputes {event}", [sent])


@home.command(short_help="Claim payments with their proof.")
@click.argument("event")
@click.argument("wallet")
@CERTIFICATES
@home_flags
@click.pass_obj
def claim(ctx: Context, event: str, wallet: str, certificates: Path | None, contract: str | None) -> None:
    """Have WALLET (an address or a meter) paid what EVENT's certificates owe it. Anyone may do it for anyone."""
    from serving.households import Household  # noqa: PLC0415

    address = wallet if wallet.startswith("0x") else _resource(ctx, wallet).wallet
    with _open(ctx, contract) as (chain, contracts):
        found = _published(ctx, event, certificates, final_only=True)
        sent = Household(chain, contracts).claim(found.certificates, address)
    show_records(ctx, f"Claimed of {event} for {address}", sent)


@home.command(short_help="Move a wallet's credit to it.")
@click.argument("wallet")
@home_flags
@click.pass_obj
def withdraw(ctx: Context, wallet: str, contract: str | None) -> None:
    """Move all credit of WALLET (an address or a meter) to it. Anyone may do it for anyone."""
    from serving.households import Household  # noqa: PLC0415

    address = wallet if wallet.startswith("0x") else _resource(ctx, wallet).wallet
    with _open(ctx, contract) as (chain, contracts):
        sent = Household(chain, contracts).withdraw(address)
    show_records(ctx, f"Credit of {address}", [sent])


@home.command(short_help="Take part in no further event.")
@click.argument("meter")
@owner_flags
@home_flags
@click.pass_obj
def leave(
    ctx: Context, meter: str, owner_keystore: Path | None, owner_password_file: Path | None, contract: str | None
) -> None:
    """Take METER out of all future events. What it has earned stays its wallet's."""
    from serving.households import Household  # noqa: PLC0415

    with _open(ctx, contract) as (chain, contracts):
        house = Household(chain, contracts)
        message = house.withdrawal(resource_hash(ctx, meter), int(chain.now().timestamp()) + YEAR_S)
        sent = house.leave(message, _sign(ctx, message, meter, owner_keystore, owner_password_file))
    show_records(ctx, f"{meter} left", [sent])


@home.command("hand-over", short_help="Hand a meter over to a new owner.")
@click.argument("meter")
@click.argument("consent_file", type=EXISTING_FILE)
@owner_flags
@home_flags
@click.pass_obj
def hand_over(
    ctx: Context,
    meter: str,
    consent_file: Path,
    owner_keystore: Path | None,
    owner_password_file: Path | None,
    contract: str | None,
) -> None:
    """Hand METER over to the owner who signed CONSENT_FILE, which `negawatt consent request` wrote."""
    from serving.consents import read_message, signed_consent  # noqa: PLC0415
    from serving.households import Household  # noqa: PLC0415

    asked, signature = read_message(consent_file)
    if asked.kind != "Consent" or signature is None:
        raise NegawattError(f"{consent_file} is no signed consent: have the new owner sign it first")
    agreed = signed_consent(asked, signature)
    with _open(ctx, contract) as (chain, contracts):
        house = Household(chain, contracts)
        message = house.handover(resource_hash(ctx, meter), agreed.owner, agreed.deadline)
        sent = house.hand_over(agreed, _sign(ctx, message, meter, owner_keystore, owner_password_file))
    show_records(ctx, f"{meter} belongs to {agreed.owner}", [sent])


# --- what the commands share --------------------------------------------------------------------------


@contextlib.contextmanager
def _open(ctx: Context, contract: str | None, *, reader: bool = False) -> Iterator[tuple[Chain, Contracts]]:
    """The chain, and the contracts at an address or in the address book."""
    from negawatt.chains import open_chain  # noqa: PLC0415
    from serving.deployment import attach, attach_at  # noqa: PLC0415

    with open_chain(ctx.workspace, ctx.settings, reader=reader) as chain:
        yield chain, attach_at(chain, contract) if contract else attach(chain, ctx.workspace.address_book)


def _resource(ctx: Context, meter: str) -> Any:
    resources = ctx.workspace.resources()
    if meter not in resources:
        raise NegawattError(f"{meter!r} is neither an address nor a meter of {ctx.workspace.folder}")
    return resources[meter]


def resource_hash(ctx: Context, meter: str) -> bytes:
    """A resource's hash, given as it is or by its meter."""
    from domain.certificates import resource_key  # noqa: PLC0415

    if meter.startswith("0x"):
        try:
            key = bytes.fromhex(meter[2:])
        except ValueError:
            key = b""
        if len(key) != 32:
            raise NegawattError(f"{meter} is no resource's hash: expected 0x and 64 hexadecimal digits")
        return key
    return resource_key(ctx.workspace.salt(), _resource(ctx, meter).meter)


def _sign(ctx: Context, message: Message, meter: str, keystore: Path | None, password: Path | None) -> bytes:
    """The owner's signature, by its key file; by the public key of a demonstration wallet where it has one."""
    from negawatt.demo_wallets import demo_key, demo_wallet  # noqa: PLC0415
    from serving.signers import open_keystore  # noqa: PLC0415

    if keystore is not None:
        return message.sign(open_keystore(keystore, password).key)
    held = ctx.workspace.resources().get(meter)
    if held is None or held.wallet != demo_wallet(meter):
        raise NegawattError(f"only its owner can decide for {meter}: name the owner's key file by --owner-keystore")
    return message.sign(demo_key(meter))


def _published(ctx: Context, event: str | None, certificates: Path | None, *, final_only: bool = False) -> Published:
    """Published certificates, from a file or the workspace's."""
    from serving.published import Published  # noqa: PLC0415

    if certificates:
        found = Published(certificates, certificates.read_bytes(), False)
    else:
        try:
            found = ctx.workspace.published(str(event), final_only=final_only)
        except InvalidEventError as missing:
            raise NegawattError(f"{missing}. A published file can be named by --certificates") from missing
    if event and found.certificates.event_id != event:
        raise NegawattError(
            f"{found.path} holds certificates of event {found.certificates.event_id!r}, not of {event!r}"
        )
    return found


def _expected(published: Published | None, wallet: str) -> int | None:
    """What provisional certificates would pay a wallet; None where the certificates are final. [minor units]"""
    if published is None or not published.provisional:
        return None
    mine = bytes.fromhex(wallet[2:])
    return sum(leaf.payment for leaf in published.certificates.leaves if leaf.wallet == mine)
