from listen_embed import errors as errors
from listen_embed import heads as heads
from listen_embed import registry as registry
from listen_embed.classify.classifier import SoundClassifier as SoundClassifier
from listen_embed.embedder import Embedder as Embedder
from listen_embed.embedder import Stream as Stream
from listen_embed.embedder import get_clip_embedding as get_clip_embedding
from listen_embed.embedder import get_embedding as get_embedding
from listen_embed.errors import ListenEmbedError as ListenEmbedError
from listen_embed.errors import ListenEmbedWarning as ListenEmbedWarning
from listen_embed.files import FileResult as FileResult
from listen_embed.files import embed_files as embed_files
from listen_embed.files import process_file as process_file
from listen_embed.spec import FrontEnd as FrontEnd
from listen_embed.spec import ModelSpec as ModelSpec
from listen_embed.tables import to_arrow as to_arrow
from listen_embed.tables import to_pandas as to_pandas

__all__ = [
    "Embedder",
    "FileResult",
    "FrontEnd",
    "ListenEmbedError",
    "ListenEmbedWarning",
    "ModelSpec",
    "SoundClassifier",
    "Stream",
    "embed_files",
    "errors",
    "get_clip_embedding",
    "get_embedding",
    "heads",
    "process_file",
    "registry",
    "to_arrow",
    "to_pandas",
]
__version__: str
