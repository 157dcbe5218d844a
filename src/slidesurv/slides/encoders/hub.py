"""Encoders whose weights live on the Hugging Face hub: found in its cache, or fetched by who may have them.

The cache is the hub's own (``HF_HOME``, ``HF_HUB_CACHE``), so what other tools have fetched is found; with
``HF_HUB_OFFLINE`` set nothing is asked for. Access is the first thing the hub says, before a byte of weights comes.
"""

from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from slidesurv.errors import ConfigError, listing
from slidesurv.slides.encoders.base import Weights, encoders, need, weights_at
from slidesurv.slides.encoders.network import NetworkEncoder

__all__ = ["HubEncoder"]

FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there


class HubEncoder(NetworkEncoder):
    """A network of the hub.

    Attributes:
        repo: where its weights are.
        revision: the commit or branch of them.
    """

    repo: ClassVar[str]
    revision: ClassVar[str] = "main"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "repo" in cls.__dict__:
            cls.url = f"https://huggingface.co/{cls.repo}"

    @classmethod
    @override
    def find(cls, *, network: bool) -> Weights:
        name = encoders.name_of(cls)
        hub = need("huggingface_hub", name)
        cached = (hub.try_to_load_from_cache(cls.repo, file, revision=cls.revision) for file in FILES)
        path = next((path for path in cached if isinstance(path, str)), None)
        if path is None and (not network or hub.constants.HF_HUB_OFFLINE):
            raise ConfigError(
                f"The weights of encoder '{name}' are not in the cache '{hub.constants.HF_HUB_CACHE}'. {cls._ask()}"
                f"Run 'slidesurv weights {name}' where there is a network and HF_HUB_OFFLINE is not set, or give "
                f"--weights FILE, from {cls.url}."
            )
        found = Path(path or cls._fetch(hub, name))
        return weights_at(found, revision=found.parent.name)

    @classmethod
    def _fetch(cls, hub: Any, name: str) -> str:
        for file in FILES:
            try:
                return str(hub.hf_hub_download(cls.repo, file, revision=cls.revision))
            except hub.errors.RepositoryNotFoundError as error:  # also where a gate is closed
                raise ConfigError(
                    f"The hub does not give the weights of encoder '{name}'. Ask for access at {cls.url}, run 'hf auth "
                    "login' or set HF_TOKEN, and try again; or give --weights FILE."
                ) from error
            except hub.errors.LocalEntryNotFoundError as error:
                raise ConfigError(
                    f"The hub cannot be reached for the weights of encoder '{name}'. Try again where there is a "
                    f"network, or give --weights FILE, from {cls.url}."
                ) from error
            except hub.errors.EntryNotFoundError:
                continue
            except OSError as error:
                raise ConfigError(f"Cannot fetch {cls.url}: {error}. Try again, or give --weights FILE.") from error
        raise ConfigError(f"{cls.url} has no {listing(FILES)}. Give --weights FILE.")

    @classmethod
    def _ask(cls) -> str:
        return f"Their owners must give you access first: ask at {cls.url}. " if cls.gated else ""
