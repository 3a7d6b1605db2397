"""Two ways round a torchvision that is absent or does not match torch; nothing here works with images."""
import importlib.machinery
import sys
import types


def hide():
    """Packages that use torchvision if it is there find that it is not. For transformers, trl and what builds on them."""
    sys.modules['torchvision'] = None


def install():
    """mosaicml-streaming can be imported: its vision datasets want torchvision at once."""
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


def install_beside_transformers():
    """transformers looks for torchvision when it is imported and must not find what install() puts there."""
    hide()
    import transformers  # noqa: F401
    del sys.modules['torchvision']
    install()
