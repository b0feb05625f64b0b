"""The desk: everything that the audit does for one estate and one store. The command line and the server ask it alone.

    sources --filling/--> store --stored.py--.
                                               >- Scene (scene.py) -> answers.py -> dicts that JSON can carry
    files -------------------------filed.py---'

Files and the store give the same scene, and a scene the same answers: `FileDesk` answers as `Desk` does. `Desk` adds
what needs a memory: collecting, importing, the weekly review, fixes (fixing.py; of files: fixfiles.py). scene.py and
answers.py are pure.
"""

from __future__ import annotations

from backstay.audit.desk.desk import Desk
from backstay.audit.desk.filed import FileDesk
from backstay.audit.desk.scene import NotSo

__all__ = ["Desk", "FileDesk", "NotSo"]
