r"""Public downloads of volumes, and what the names of their files say.

Goes in: a folder with a download as it comes. Comes out: a `VolumeRow` a volume, so that no table has to be
written. Licences and citations in full stand in `catalogue.SOURCES`. In each, files of other names are left
alone.

`tiantan_pituitary`: pituitary tumours of one hospital (Beijing Tiantan), coronal, skull kept, with masks.
    From github.com/VGuoGavin/Pituitary-segmentation-and-classification, folder `1_Classifer`. Licence: none
    is stated, so train and measure, and never redistribute. Citation: the repository. 102 volumes of 99
    patients were looked at: they are T1 with contrast agent, which no file states; the sequence of the
    others is `unknown`. Faults: three patients are there under two numbers, which are joined here; there may
    be more.
`brats_samples`: glioma in four sequences, skull-stripped, with masks, three planes. Any download that is
    named as BraTS names its volumes. The samples themselves come from github.com/BrainLesion/tutorials, two
    patients of TCGA-LGG (CC BY 3.0), 8 volumes: their names say too little, so they need a table, see
    `volume_rows`. Citation: Menze et al. (2015), doi 10.1109/TMI.2014.2377694, and the year's own. Faults:
    the samples have masks that algorithms drew, and their patients are in `lgg_tcga`, too; so are some of
    BraTS.
`ixi_small`: healthy people, T1 and T2 in three planes, skull kept. From brain-development.org/ixi-dataset,
    CC BY-SA 3.0; citation: IXI dataset. 581 people have T1. The package's own selection holds two of
    them, and a FLAIR of NiChart, at voxels of 2 mm. Faults: no reader's report. PD, MRA and DTI are left
    alone.
`nichart_elderly`: 23 people of 68 to 96 years, T1 in three planes and axial FLAIR, skull kept. From
    github.com/CBICA/NiChart_Project, folder `sample_datasets/demo_dataset`. Licence: software agreement of
    CBICA, non-commercial research; the origin of the scans is not stated. Citation: NiChart project. Faults:
    no reader's report, voxels of 2 mm, so the pictures are soft.
`ms_ljubljana`: multiple sclerosis, no tumour; FLAIR, T1, T2 and contrast-enhanced T1. From
    github.com/muschellij2/open_ms_data, CC BY (University of Ljubljana). Citation: Lesjak et al. (2018), doi
    10.1007/s12021-017-9348-7. 30 people once (`cross_sectional/MNI`, stripped, three planes) and 20 people
    twice (`longitudinal/raw`, skull kept). Faults: slices show lesions. Their masks are of lesions, not of
    tumours, and so are not read. People of the two parts may be the same.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tumor_ds.sources.tables import check_file
from tumor_ds.sources.volume_rows import PLANES, VolumeRow, check_rows


@dataclass(frozen=True)
class Naming:
    r"""How one download names its volumes.

    Attributes:
        pattern: of a whole path below the folder; its groups `patient` and `sequence` are used.
        sequences: sequence by its name there.
        label: of all patients.
        skull: kept or stripped.
        planes: in which the volumes are cut; empty for the one that they were taken in.
        patient: template of the patient's name.
        mask: template of the mask's path; "" where there is none.
        same: name of the patient by a second name that this patient has there.

    Example:
        >>> naming = Naming(r"(?P<patient>P\d+)_(?P<sequence>T1)\.nii", {"T1": "T1"}, "notumor", "kept", ())
        >>> naming.read("P7_T1.nii", "mine").patient
        'P7'
    """

    pattern: str
    sequences: Mapping[str, str]
    label: str
    skull: str
    planes: tuple[str, ...]
    patient: str = r"\g<patient>"
    mask: str = ""
    same: Mapping[str, str] = field(default_factory=dict)

    def read(self, file: str, source: str) -> VolumeRow | None:
        """Say what a file is; None where it is named otherwise."""
        match = re.fullmatch(self.pattern, file)
        if match is None:
            return None
        sequence = self.sequences.get(match["sequence"], "unknown")
        patient, mask = match.expand(self.patient), match.expand(self.mask)
        patient = self.same.get(patient, patient)
        return VolumeRow(file, file, patient, self.label, source, mask, sequence, self.skull, self.planes)


_MR = {"T1": "T1", "T1W": "T1", "T1POST": "T1C", "T2": "T2", "T2W": "T2", "FLAIR": "FLAIR", "FL": "FLAIR"}
_BRATS = {
    "t1": "T1",
    "t1n": "T1",
    "t1ce": "T1C",
    "t1c": "T1C",
    "t2": "T2",
    "t2w": "T2",
    "flair": "FLAIR",
    "t2f": "FLAIR",
}
# Numbers of the volumes of `tiantan_pituitary` that were seen to be T1 with contrast agent.
_SEEN = (
    "0 2 3 4 6 7 8 9 10 11 12 13 14 16 17 20 21 22 24 26 29 31 33 34 35 36 37 38 39 43 48 50 51 54 56"
    " 59 60 61 62 63 64 66 67 70 71 72 73 76 79 81 84 86 87 89 90 92 93 94 95 98 99 100 102 103 104 107"
    " 109 110 111 112 113 114 117 118 119 120 121 122 123 124 125 127 128 129 130 131 132 133 134 135"
    " 136 139 140 141 143 145 146 151 152 154 155 156"
)
_END = r"(?P<end>\.nii(\.gz)?)"
NAMINGS: dict[str, tuple[Naming, ...]] = {
    "tiantan_pituitary": (
        Naming(
            r"(?P<above>.*)imagesTr_nii_gz/Pituitarytumor_(?P<patient>(?P<sequence>\d+))_0000\.nii\.gz",
            dict.fromkeys(_SEEN.split(), "T1C"),
            "pituitary",
            "kept",
            ("coronal",),
            patient=r"t\g<patient>",
            mask=r"\g<above>labelsTr_nii_gz/Pituitarytumor_\g<patient>.nii.gz",
            same={"t135": "t7", "t139": "t35", "t146": "t50"},
        ),
    ),
    "brats_samples": (
        Naming(
            r"(?P<stem>(.*/)?(?P<patient>BraTS-GLI-\d+)-\d+)-(?P<sequence>t1n|t1c|t2w|t2f)" + _END,
            _BRATS,
            "glioma",
            "stripped",
            PLANES,
            mask=r"\g<stem>-seg\g<end>",
        ),
        Naming(
            r"(?P<stem>(.*/)?(?P<patient>Bra[tT][sS]\d\d_\w+))_(?P<sequence>t1|t1ce|t2|flair)" + _END,
            _BRATS,
            "glioma",
            "stripped",
            PLANES,
            mask=r"\g<stem>_seg\g<end>",
        ),
    ),
    "ixi_small": (
        Naming(
            r"(.*/)?(?P<patient>IXI\d+)-\w+-\d+-(?P<sequence>T1|T2)" + _END, _MR, "notumor", "kept", PLANES
        ),
    ),
    "nichart_elderly": (
        Naming(r"(.*/)?(?P<patient>Subj\d+)_(?P<sequence>T1)" + _END, _MR, "notumor", "kept", PLANES),
        Naming(r"(.*/)?(?P<patient>Subj\d+)_(?P<sequence>FL)" + _END, _MR, "notumor", "kept", ("axial",)),
    ),
    "ms_ljubljana": (
        Naming(
            r"(.*/)?cross_sectional/MNI/patient(?P<patient>\d+)/(?P<sequence>FLAIR|T1|T1POST|T2)_\w+_brain_\w+"
            + _END,
            _MR,
            "notumor",
            "stripped",
            PLANES,
            patient=r"cross-patient\g<patient>",
        ),
        Naming(
            r"(.*/)?longitudinal/raw/patient(?P<patient>\d+)/study\d_(?P<sequence>FLAIR|T1W|T2W)" + _END,
            _MR,
            "notumor",
            "kept",
            (),
            patient=r"long-patient\g<patient>",
        ),
    ),
}


def has_known_names(folder: Path, source: str) -> bool:
    """Tell whether a folder holds a volume that is named as the download of a source names it."""
    return any(_name_rows(folder, source))


def name_rows(folder: Path, source: str) -> list[VolumeRow]:
    """Say what the volumes of a download are, by their names.

    Args:
        folder: that holds the download of `source`, unpacked, at any depth.
        source: one of `NAMINGS`.

    Returns:
        Rows in the order of their files.

    Raises:
        DatasetError: a mask is missing.
    """
    rows = list(_name_rows(folder, source))
    for row in rows:
        if row.mask:
            check_file(row.file, "mask", row.mask, folder)
    return check_rows(rows)


def _name_rows(folder: Path, source: str) -> Iterator[VolumeRow]:
    for path in folder.rglob("*.nii*"):
        file = path.relative_to(folder).as_posix()
        rows = (naming.read(file, source) for naming in NAMINGS.get(source, ()))
        yield from (row for row in rows if row is not None)
