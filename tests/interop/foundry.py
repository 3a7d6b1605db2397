"""llm-foundry's reader of fine-tuning data, loaded from its wheel without the rest of it.

llm-foundry as a whole requires other versions of torch, transformers and mosaicml-streaming than the other trainers, and composer
with much behind it. Its modules for this need of that no more than the names below, which stand in for packages; their own code is
not touched.
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


def load():
    """(StreamingFinetuningDataset, Seq2SeqFinetuningCollator, BinPackCollator)"""
    root = importlib.util.find_spec('llmfoundry').submodule_search_locations[0]
    stand_in('composer')
    stand_in('composer.utils', dist=None)
    # The packages without what their __init__ would import.
    for name in ('llmfoundry', 'llmfoundry.utils', 'llmfoundry.tokenizers', 'llmfoundry.data', 'llmfoundry.data.finetuning'):
        stand_in(name, os.path.join(root, *name.split('.')[1:]))
    stand_in('llmfoundry.utils.logging_utils', SpecificWarningFilter=None)
    # What tasks.py expects to find in those packages, from where it really stands.
    for name, member in (('llmfoundry.tokenizers', 'utils:get_date_string'), ('llmfoundry.data', 'data:SUPPORTED_MDS_ENCODING_TYPES'),
                         ('llmfoundry.data', 'data:stream_remote_local_validate')):
        module, attribute = member.split(':')
        setattr(sys.modules[name], attribute, getattr(importlib.import_module(f'{name}.{module}'), attribute))
    return (importlib.import_module('llmfoundry.data.finetuning.tasks').StreamingFinetuningDataset,
            importlib.import_module('llmfoundry.data.finetuning.collator').Seq2SeqFinetuningCollator,
            importlib.import_module('llmfoundry.data.packing').BinPackCollator)
