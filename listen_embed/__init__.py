"""Audio embeddings for machine listening at the edge."""
from listen_embed.embedder import Embedder, get_embedding
