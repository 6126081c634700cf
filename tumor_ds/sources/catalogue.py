"""What each source is: where it comes from, what may be done with it, how many pictures, known faults.

Goes in: nothing. Comes out: `SOURCES`, a `Source` a config of the dataset. Nothing here reads a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One public source of pictures.

    Attributes:
        title: what it holds, in one line.
        homepage: page of the download.
        licence: as stated there.
        citation: whom to name.
        counts: number of pictures that the package's own selection holds, in the layout of `gathered`, by
            label, `other_tumor` or `no_tumor_in_slice`.
        faults: what is known to be wrong with it, in sentences.

    Example:
        >>> SOURCES["figshare"].licence
        'CC BY 4.0'
    """

    title: str
    homepage: str
    licence: str
    citation: str
    counts: Mapping[str, int]
    faults: str = ""


SOURCES: dict[str, Source] = {
    "figshare": Source(
        "contrast-enhanced T1 of 233 patients with glioma, meningioma or pituitary tumour, all outlined",
        "https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
        "CC BY 4.0",
        "Cheng, Jun (2017): brain tumor dataset. figshare, doi 10.6084/m9.figshare.1512427",
        {"glioma": 1426, "meningioma": 708, "pituitary": 930},
        "Kaggle's collection holds every one of these slices: they share its groups.",
    ),
    "lgg_tcga": Source(
        "low-grade glioma in T1, FLAIR and contrast-enhanced T1, with masks",
        "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
        "CC BY-NC-SA 4.0 on Kaggle; TCIA TCGA-LGG, CC BY 3.0",
        "Buda, Saha, Mazurowski (2019), doi 10.1016/j.compbiomed.2019.05.002; TCIA TCGA-LGG",
        {"glioma": 2451, "no_tumor_in_slice": 1043},
        "The mask is of the FLAIR abnormality; few of these tumours take up contrast agent.",
    ),
    "rsna_miccai": Source(
        "glioma in contrast-enhanced T1, skull-stripped",
        "https://github.com/ultralytics/assets/releases (brain-tumor.zip)",
        "AGPL-3.0 as stated; pixels under the rules of Kaggle's RSNA-MICCAI 2021 competition",
        "Baid et al. (2021), RSNA-ASNR-MICCAI BraTS 2021, arXiv 2107.02314",
        {"glioma": 1101, "no_tumor_in_slice": 15},
        "The patient is known for 120 of them only.",
    ),
    "brats_samples": Source(
        "glioma of two patients in four sequences, skull-stripped, three planes",
        "https://github.com/BrainLesion/tutorials",
        "CC BY 3.0 (TCIA TCGA-LGG)",
        "Kofler et al., BrainLesion suite; TCIA TCGA-LGG",
        {"glioma": 272},
        "Both patients are in lgg_tcga, too, under the same names.",
    ),
    "feltrin44": Source(
        "tumours of many kinds and no tumour, in T1, contrast-enhanced T1 and T2",
        "https://www.kaggle.com/datasets/fernando2rad/brain-tumor-mri-images-44c",
        "unclear (a private collection): train and measure, never redistribute",
        "Feltrin, Fernando: Brain Tumor MRI Images 44 Classes. Kaggle",
        {"glioma": 502, "meningioma": 476, "notumor": 200, "other_tumor": 982},
        "Patients are unknown; pictures that are alike stand for one.",
    ),
    "alzheimer_oasis": Source(
        "aged or demented people, T1, skull-stripped, no tumour",
        "https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images",
        "ODbL as stated on Kaggle; pixels of OASIS-1, for research",
        "Marcus et al. (2007), OASIS-1, doi 10.1162/jocn.2007.19.9.1498",
        {"notumor": 992},
        "Brains are shrunken in many of them.",
    ),
    "nichart_elderly": Source(
        "people of 68 to 96 years, T1 and FLAIR in three planes, no tumour named",
        "https://github.com/CBICA/NiChart_Project",
        "software agreement of CBICA, non-commercial research",
        "NiChart project, University of Pennsylvania",
        {"notumor": 644},
        "No reader's report. Voxels of 2 mm, so the pictures are soft.",
    ),
    "ixi_small": Source(
        "healthy people, T1 and FLAIR in three planes",
        "https://brain-development.org/ixi-dataset",
        "CC BY-SA 3.0 (IXI); one scan under the software agreement of CBICA",
        "IXI dataset, brain-development.org",
        {"notumor": 78},
        "Voxels of 2 mm, so the pictures are soft.",
    ),
    "flair_iran_hc": Source(
        "white-matter lesions in FLAIR, no tumour",
        "https://github.com/Mahdi-Bashiri/Sim-Vent-WMH-Seg",
        "MIT (repository)",
        "Bashiri, Sim-Vent-WMH-Seg",
        {"notumor": 70},
    ),
    "oasis2_planes": Source(
        "aged or demented people, T1, the middle slice in three planes, roughly stripped, no tumour",
        "https://www.oasis-brains.org",
        "research use (OASIS-2)",
        "Marcus et al. (2010), OASIS-2, doi 10.1162/jocn.2009.21407",
        {"notumor": 448},
        "Some people may be those of alzheimer_oasis: keep both on one side.",
    ),
    "ms_ljubljana": Source(
        "multiple sclerosis in FLAIR, T1, T2 and contrast-enhanced T1, no tumour",
        "https://github.com/muschellij2/open_ms_data",
        "CC BY (University of Ljubljana)",
        "Lesjak et al. (2018), doi 10.1007/s12021-017-9348-7",
        {"notumor": 524},
        "The slices show lesions. Half of them are skull-stripped.",
    ),
    "ms_iran": Source(
        "multiple sclerosis in FLAIR, T1 and T2, no tumour",
        "https://github.com/Mahdi-Bashiri/MRI_MS_Insights",
        "MIT (repository)",
        "Bashiri, MRI_MS_Insights",
        {"notumor": 323},
        "The slices show lesions.",
    ),
    "vqamed2019": Source(
        "teaching cases of many hospitals, all sequences and planes",
        "https://github.com/abachaa/VQA-Med-2019",
        "teaching and research with attribution (MedPix, NLM)",
        "Ben Abacha et al. (2019), VQA-Med, ImageCLEF",
        {"glioma": 45, "meningioma": 31, "notumor": 203, "other_tumor": 131, "pituitary": 12},
        "The label is the diagnosis of the case: a slice may not show it. Letters stand at the edges.",
    ),
    "tiantan_pituitary": Source(
        "pituitary tumours of one hospital, coronal contrast-enhanced T1, with masks",
        "https://github.com/VGuoGavin/Pituitary-segmentation-and-classification",
        "none stated: train and measure, never redistribute",
        "VGuoGavin, Pituitary-segmentation-and-classification; Beijing Tiantan Hospital",
        {"pituitary": 386},
        "The sequence was seen, not stated.",
    ),
    "tcga_gbm": Source(
        "glioblastoma in four sequences and three planes",
        "https://www.cancerimagingarchive.net/collection/tcga-gbm",
        "CC BY 3.0 (TCIA)",
        "Scarpace et al. (2016), TCIA TCGA-GBM, doi 10.7937/K9/TCIA.2016.RNYFUYE9",
        {"glioma": 233},
        "Slices were not checked one by one for tumour. Some people may be in rsna_miccai, too.",
    ),
    "nins": Source(
        "normal, stroke, haemorrhage, abscess and atrophy in T1, and a few gliomas",
        "https://figshare.com/articles/dataset/Brain_MRI_Dataset/14778750",
        "not stated here; see figshare 14778750",
        "Brain MRI Dataset, National Institute of Neurosciences, Dhaka; doi 10.6084/m9.figshare.14778750",
        {"glioma": 25, "notumor": 862},
        "The label is the diagnosis of the patient. Five series are there twice, under other numbers.",
    ),
    "ms_iraq": Source(
        "multiple sclerosis in FLAIR, T2 and T1, no tumour",
        "https://data.mendeley.com/datasets/8bctsm8jz7",
        "CC BY 4.0",
        "Muslim et al. (2022), Mendeley Data, doi 10.17632/8bctsm8jz7",
        {"notumor": 61},
        "The slices show lesions.",
    ),
    "autism_sagittal": Source(
        "young people with autism or none, the middle sagittal slice in T1, no tumour",
        "https://github.com/ozanguldali/interim-brain-mri",
        "not stated (by its look ABIDE, research use)",
        "Guldali, interim-brain-mri",
        {"notumor": 119},
        "Faces are partly cut.",
    ),
    "single_heads": Source(
        "a child and two adults, T1 in three planes, no tumour",
        "https://github.com/FNNDSC/SAG-anon",
        "as each repository states",
        "FNNDSC SAG-anon; NKI-Rockland; NITRC dcm2nii sample",
        {"notumor": 108},
    ),
    "jammu_gbm": Source(
        "glioblastoma of three patients in four sequences",
        "https://data.mendeley.com/datasets/mxsb7snyvx",
        "CC BY 4.0",
        "Singh, Malhotra, Gupta (2026), Mendeley Data, doi 10.17632/mxsb7snyvx.2",
        {"glioma": 22, "no_tumor_in_slice": 5},
        "Sequence and patient were judged by eye; the masks of the download are not usable.",
    ),
}
