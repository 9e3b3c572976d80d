"""The chain that the settings name, opened with whoever signs for the operator and with the operator's outbox."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from domain.errors import ChainError
from domain.events import DREvent
from infra.geth_network import Network
from negawatt.settings import Settings
from negawatt.workspace import Workspace
from serving.anvil import anvil
from serving.chain import Chain, ChainOptions
from serving.outbox import Outbox
from serving.signers import KeystoreSigner, RemoteSigner, Signer


@contextlib.contextmanager
def open_chain(
    workspace: Workspace, settings: Settings, clock: datetime | None = None, *, reader: bool = False
) -> Iterator[Chain]:
    """The chain that the settings name; anvil runs for as long as the block.

    Parameters
    ----------
    clock : datetime, optional
        Time at which a new anvil chain begins.
    reader : bool
        Open no key: the chain is only read.

    Raises
    ------
    ChainError
        No node answers, or there is no chain to read.
    """
    if settings.chain == "stack://":
        settings = on_stack(workspace, settings)
    if settings.chain == "anvil://":
        if reader and not has_chain(workspace, settings):
            raise ChainError(f"{workspace.chain_state} holds no chain yet: settle an event first")
        with anvil(workspace.chain_state, clock=clock) as node:
            yield Chain(node.url, reader=True) if reader else _as_operator(workspace, settings, node.url)
    elif reader:
        yield Chain(settings.chain, reader=True)
    else:
        yield _as_operator(workspace, settings, settings.chain, _signer(settings))


def has_chain(workspace: Workspace, settings: Settings) -> bool:
    """Whether there is a chain to open: a built-in one begins with the first command that sends something."""
    return settings.chain != "anvil://" or workspace.chain_state.exists()


def open_outbox(workspace: Workspace, settings: Settings) -> Outbox:
    """The outbox that the settings name.

    Raises
    ------
    StoreError
        It can't be opened.
    """
    return Outbox.at(settings.outbox, workspace.outbox)


def _as_operator(workspace: Workspace, settings: Settings, urls: str, signer: Signer | None = None) -> Chain:
    options = ChainOptions(
        stuck_seconds=settings.stuck_seconds, max_gas=settings.max_gas, max_fee_gwei=settings.max_fee_gwei
    )
    return Chain(urls, signer=signer, outbox=open_outbox(workspace, settings), options=options)


def _signer(settings: Settings) -> Signer | None:
    if settings.remote_signer and settings.keystore:
        raise ChainError("both keystore and remote_signer are set: which one is to sign? Leave one out")
    if settings.remote_signer:
        return RemoteSigner(settings.remote_signer, settings.operator)
    if not settings.keystore:
        return None
    signer = KeystoreSigner(Path(settings.keystore), Path(settings.password_file) if settings.password_file else None)
    if settings.operator and settings.operator.lower() != signer.address.lower():
        raise ChainError(f"{settings.keystore} is the key of {signer.address}, and operator is {settings.operator}")
    return signer


def on_stack(workspace: Workspace, settings: Settings) -> Settings:
    """Settings with addresses and operator of the network that `negawatt stack up chain` made here.

    A key file or a remote signer that the settings name is kept.

    Raises
    ------
    ServiceError
        The workspace has no such network.
    """
    network = Network.load(workspace.stack / "chain")
    named = replace(settings, chain=",".join(network.urls))
    if settings.keystore or settings.remote_signer:
        return named
    return replace(named, keystore=str(network.operator_keystore), password_file=str(network.operator_password_file))


def before(event: DREvent) -> datetime:
    """When a new anvil chain has to begin for an event to be announced on it: a day ahead."""
    return event.start - timedelta(days=1)
