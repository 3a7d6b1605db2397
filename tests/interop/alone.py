"""Readers of llm-foundry and Megatron, loaded from their wheels without the rest of them.

As a whole these require other versions of torch, transformers and mosaicml-streaming than the other trainers, composer with much
behind it, and CUDA. Their modules that read data need no more of that than the names below, which stand in for packages; the
modules' own code is not touched.
"""
import importlib
import importlib.util
import os
import sys
import types


def stand_in(name, folder='', **members):
    module = types.ModuleType(name)
    module.__path__ = [folder] if folder else []
    vars(module).update(members)
    sys.modules[name] = module
    return module


def stand_in_packages(*names):
    """Packages without what their __init__ would import."""
    root = importlib.util.find_spec(names[0]).submodule_search_locations[0]
    for name in names:
        stand_in(name, os.path.join(root, *name.split('.')[1:]))


def foundry():
    """(StreamingFinetuningDataset, Seq2SeqFinetuningCollator, BinPackCollator)"""
    stand_in('composer')
    stand_in('composer.utils', dist=None)
    stand_in_packages('llmfoundry', 'llmfoundry.utils', 'llmfoundry.tokenizers', 'llmfoundry.data', 'llmfoundry.data.finetuning')
    stand_in('llmfoundry.utils.logging_utils', SpecificWarningFilter=None)
    # What tasks.py expects to find in those packages, from where it really stands.
    for name, module, member in (('llmfoundry.tokenizers', 'utils', 'get_date_string'), ('llmfoundry.data', 'data', 'SUPPORTED_MDS_ENCODING_TYPES'),
                                 ('llmfoundry.data', 'data', 'stream_remote_local_validate')):
        setattr(sys.modules[name], member, getattr(importlib.import_module(f'{name}.{module}'), member))
    return (importlib.import_module('llmfoundry.data.finetuning.tasks').StreamingFinetuningDataset,
            importlib.import_module('llmfoundry.data.finetuning.collator').Seq2SeqFinetuningCollator,
            importlib.import_module('llmfoundry.data.packing').BinPackCollator)


def megatron():
    """So that `from megatron.core.datasets.indexed_dataset import IndexedDataset` works."""
    stand_in_packages('megatron', 'megatron.core', 'megatron.core.datasets')
    stand_in('megatron.core.utils', log_single_rank=lambda *args: None)
