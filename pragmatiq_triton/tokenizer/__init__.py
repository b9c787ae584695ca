"""Records become numbers: vocabulary, encoding and time."""

from pragmatiq_triton.tokenizer.assemble import NO_TIME, EncodedRecord, assemble
from pragmatiq_triton.tokenizer.config import TokenizerConfig
from pragmatiq_triton.tokenizer.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

__all__ = ["NO_TIME", "EncodedRecord", "Tokenizer", "TokenizerConfig", "Vocabulary", "assemble"]
