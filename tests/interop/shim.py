"""Lets mosaicml-streaming be imported where torchvision is absent or does not match torch: only its vision datasets need it."""
import importlib.machinery
import sys
import types


def install():
    try:
        import torchvision  # noqa: F401
        return
    except Exception:
        for name in [n for n in sys.modules if n.split('.')[0] == 'torchvision']:
            del sys.modules[name]
    vision = type('VisionDataset', (), {})
    members = {
        'torchvision': {'__version__': '0'},
        'torchvision.datasets': {'VisionDataset': vision, 'CIFAR10': vision},
        'torchvision.transforms': {},
        'torchvision.transforms.functional': {'to_tensor': None},
    }
    for name, attributes in members.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        vars(module).update(attributes)
        sys.modules[name] = module
