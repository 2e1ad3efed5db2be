import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("turnout", "dsl", "engine", "adapters", "conformance", "policies")


def test_wheel_holds_every_tracked_source_file_once(tmp_path: Path) -> None:
    git = ["git", "-C", str(ROOT), "ls-files", "-s", *FOLDERS]
    rows = [line.split(maxsplit=3) for line in subprocess.check_output(git, text=True).splitlines()]
    tracked = [path for mode, _, _, path in rows if mode != "120000"]
    wanted = {p if p.startswith("turnout/") else f"turnout/{p}" for p in tracked}
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # files that are gone would be packed again
    subprocess.check_call([sys.executable, "-m", "build", "-qw", "-o", str(tmp_path), str(ROOT)])
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert sorted(wanted) == sorted(n for n in names if ".dist-info/" not in n)


def test_links_point_at_their_folders() -> None:
    for folder in FOLDERS[1:]:
        assert (ROOT / "turnout" / folder).samefile(ROOT / folder)
