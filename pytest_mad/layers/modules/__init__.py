"""Parts that mixers are made of: norms, rotary embeddings, feature maps, routers."""
