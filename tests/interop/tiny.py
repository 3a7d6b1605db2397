"""A tokenizer and a model with random weights for the vocabulary of a night: enough for trainers to run, offline."""
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def tokenizer(n_vocab, eos):
    words = {f'<{i}>': i for i in range(n_vocab)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token='<0>')), eos_token=f'<{eos}>', pad_token='<0>')


def save(folder, n_vocab, eos, context):
    config = LlamaConfig(vocab_size=n_vocab, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=4, max_position_embeddings=context)
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(n_vocab, eos).save_pretrained(folder)
