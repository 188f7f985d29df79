"""What we use of MuJoCo (3.14), typed: the package ships without annotations for its compiled half."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

class ArrayField:
    """Reads as an array, may be assigned any sequence of numbers of the right length."""

    def __get__(self, owner: object, kind: type | None = None) -> Floats: ...
    def __set__(self, owner: object, value: ArrayLike) -> None: ...

__version__: str
mjMINVAL: float
mjMAXVAL: float
mjPI: float

class mjtGeom(IntEnum):
    mjGEOM_PLANE = 0
    mjGEOM_HFIELD = 1
    mjGEOM_SPHERE = 2
    mjGEOM_CAPSULE = 3
    mjGEOM_ELLIPSOID = 4
    mjGEOM_CYLINDER = 5
    mjGEOM_BOX = 6
    mjGEOM_MESH = 7
    mjGEOM_SDF = 8
    mjNGEOMTYPES = 9
    mjGEOM_ARROW = 100
    mjGEOM_ARROW1 = 101
    mjGEOM_ARROW2 = 102
    mjGEOM_LINE = 103
    mjGEOM_LINEBOX = 104
    mjGEOM_FLEX = 105
    mjGEOM_SKIN = 106
    mjGEOM_LABEL = 107
    mjGEOM_TRIANGLE = 108
    mjGEOM_NONE = 1001

class mjtJoint(IntEnum):
    mjJNT_FREE = 0
    mjJNT_BALL = 1
    mjJNT_SLIDE = 2
    mjJNT_HINGE = 3

class mjtObj(IntEnum):
    mjOBJ_UNKNOWN = 0
    mjOBJ_BODY = 1
    mjOBJ_XBODY = 2
    mjOBJ_JOINT = 3
    mjOBJ_DOF = 4
    mjOBJ_GEOM = 5
    mjOBJ_SITE = 6
    mjOBJ_CAMERA = 7
    mjOBJ_LIGHT = 8
    mjOBJ_FLEX = 9
    mjOBJ_MESH = 10
    mjOBJ_SKIN = 11
    mjOBJ_HFIELD = 12
    mjOBJ_TEXTURE = 13
    mjOBJ_MATERIAL = 14
    mjOBJ_PAIR = 15
    mjOBJ_EXCLUDE = 16
    mjOBJ_EQUALITY = 17
    mjOBJ_TENDON = 18
    mjOBJ_ACTUATOR = 19
    mjOBJ_SENSOR = 20
    mjOBJ_NUMERIC = 21
    mjOBJ_TEXT = 22
    mjOBJ_TUPLE = 23
    mjOBJ_KEY = 24
    mjOBJ_PLUGIN = 25
    mjNOBJECT = 26
    mjOBJ_FRAME = 100
    mjOBJ_DEFAULT = 101
    mjOBJ_MODEL = 102

class mjtEq(IntEnum):
    mjEQ_CONNECT = 0
    mjEQ_WELD = 1
    mjEQ_JOINT = 2
    mjEQ_TENDON = 3
    mjEQ_FLEX = 4
    mjEQ_FLEXVERT = 5
    mjEQ_FLEXSTRAIN = 6
    mjEQ_DISTANCE = 7

class mjtGain(IntEnum):
    mjGAIN_FIXED = 0
    mjGAIN_AFFINE = 1
    mjGAIN_MUSCLE = 2
    mjGAIN_DCMOTOR = 3
    mjGAIN_SO3 = 4
    mjGAIN_PID = 5
    mjGAIN_USER = 6

class mjtBias(IntEnum):
    mjBIAS_NONE = 0
    mjBIAS_AFFINE = 1
    mjBIAS_MUSCLE = 2
    mjBIAS_DCMOTOR = 3
    mjBIAS_SO3 = 4
    mjBIAS_USER = 5

class mjtTrn(IntEnum):
    mjTRN_JOINT = 0
    mjTRN_JOINTINPARENT = 1
    mjTRN_SLIDERCRANK = 2
    mjTRN_TENDON = 3
    mjTRN_SITE = 4
    mjTRN_BODY = 5
    mjTRN_SO3 = 6
    mjTRN_UNDEFINED = 1000

class mjtState(IntEnum):
    mjSTATE_TIME = 1
    mjSTATE_QPOS = 2
    mjSTATE_QVEL = 4
    mjSTATE_ACT = 8
    mjSTATE_HISTORY = 16
    mjSTATE_WARMSTART = 32
    mjSTATE_CTRL = 64
    mjSTATE_QFRC_APPLIED = 128
    mjSTATE_XFRC_APPLIED = 256
    mjSTATE_EQ_ACTIVE = 512
    mjSTATE_MOCAP_POS = 1024
    mjSTATE_MOCAP_QUAT = 2048
    mjSTATE_USERDATA = 4096
    mjSTATE_PLUGIN = 8192
    mjNSTATE = 14
    mjSTATE_PHYSICS = 30
    mjSTATE_FULLPHYSICS = 8223
    mjSTATE_USER = 8128
    mjSTATE_INTEGRATION = 16383

class mjtTexture(IntEnum):
    mjTEXTURE_2D = 0
    mjTEXTURE_CUBE = 1
    mjTEXTURE_SKYBOX = 2

class mjtBuiltin(IntEnum):
    mjBUILTIN_NONE = 0
    mjBUILTIN_GRADIENT = 1
    mjBUILTIN_CHECKER = 2
    mjBUILTIN_FLAT = 3

class mjtIntegrator(IntEnum):
    mjINT_EULER = 0
    mjINT_RK4 = 1
    mjINT_IMPLICIT = 2
    mjINT_IMPLICITFAST = 3
    mjINT_DISCRETE = 4

class mjtCone(IntEnum):
    mjCONE_PYRAMIDAL = 0
    mjCONE_ELLIPTIC = 1

class mjtSolver(IntEnum):
    mjSOL_PGS = 0
    mjSOL_CG = 1
    mjSOL_NEWTON = 2

class mjtJacobian(IntEnum):
    mjJAC_DENSE = 0
    mjJAC_SPARSE = 1
    mjJAC_AUTO = 2

class mjtDisableBit(IntEnum):
    mjDSBL_CONSTRAINT = 1
    mjDSBL_EQUALITY = 2
    mjDSBL_FRICTIONLOSS = 4
    mjDSBL_LIMIT = 8
    mjDSBL_CONTACT = 16
    mjDSBL_SPRING = 32
    mjDSBL_DAMPER = 64
    mjDSBL_GRAVITY = 128
    mjDSBL_CLAMPCTRL = 256
    mjDSBL_WARMSTART = 512
    mjDSBL_FILTERPARENT = 1024
    mjDSBL_ACTUATION = 2048
    mjDSBL_REFSAFE = 4096
    mjDSBL_SENSOR = 8192
    mjDSBL_MIDPHASE = 16384
    mjDSBL_EULERDAMP = 32768
    mjDSBL_AUTORESET = 65536
    mjDSBL_NATIVECCD = 131072
    mjDSBL_ISLAND = 262144
    mjDSBL_MULTICCD = 524288
    mjNDISABLE = 20

class mjtEnableBit(IntEnum):
    mjENBL_OVERRIDE = 1
    mjENBL_ENERGY = 2
    mjENBL_FWDINV = 4
    mjENBL_INVDISCRETE = 8
    mjENBL_SLEEP = 16
    mjENBL_DIAGEXACT = 32
    mjENBL_IPC = 64
    mjNENABLE = 7

class mjtLightType(IntEnum):
    mjLIGHT_SPOT = 0
    mjLIGHT_DIRECTIONAL = 1
    mjLIGHT_POINT = 2
    mjLIGHT_IMAGE = 3

class mjtCamLight(IntEnum):
    mjCAMLIGHT_FIXED = 0
    mjCAMLIGHT_TRACK = 1
    mjCAMLIGHT_TRACKCOM = 2
    mjCAMLIGHT_TARGETBODY = 3
    mjCAMLIGHT_TARGETBODYCOM = 4

class mjtVisFlag(IntEnum):
    mjVIS_CONVEXHULL = 0
    mjVIS_TEXTURE = 1
    mjVIS_JOINT = 2
    mjVIS_CAMERA = 3
    mjVIS_ACTUATOR = 4
    mjVIS_ACTIVATION = 5
    mjVIS_LIGHT = 6
    mjVIS_TENDON = 7
    mjVIS_RANGEFINDER = 8
    mjVIS_CONSTRAINT = 9
    mjVIS_INERTIA = 10
    mjVIS_SCLINERTIA = 11
    mjVIS_PERTFORCE = 12
    mjVIS_PERTOBJ = 13
    mjVIS_CONTACTPOINT = 14
    mjVIS_ISLAND = 15
    mjVIS_CONTACTFORCE = 16
    mjVIS_CONTACTSPLIT = 17
    mjVIS_TRANSPARENT = 18
    mjVIS_AUTOCONNECT = 19
    mjVIS_COM = 20
    mjVIS_SELECT = 21
    mjVIS_STATIC = 22
    mjVIS_SKIN = 23
    mjVIS_FLEXVERT = 24
    mjVIS_FLEXEDGE = 25
    mjVIS_FLEXFACE = 26
    mjVIS_FLEXSKIN = 27
    mjVIS_BODYBVH = 28
    mjVIS_MESHBVH = 29
    mjVIS_SDFITER = 30
    mjNVISFLAG = 31

class mjtRndFlag(IntEnum):
    mjRND_SHADOW = 0
    mjRND_WIREFRAME = 1
    mjRND_REFLECTION = 2
    mjRND_ADDITIVE = 3
    mjRND_SKYBOX = 4
    mjRND_FOG = 5
    mjRND_HAZE = 6
    mjRND_DEPTH = 7
    mjRND_SEGMENT = 8
    mjRND_IDCOLOR = 9
    mjRND_CULL_FACE = 10
    mjNRNDFLAG = 11

class mjtGeomInertia(IntEnum):
    mjINERTIA_VOLUME = 0
    mjINERTIA_SHELL = 1

class mjtOrientation(IntEnum):
    mjORIENTATION_QUAT = 0
    mjORIENTATION_AXISANGLE = 1
    mjORIENTATION_XYAXES = 2
    mjORIENTATION_ZAXIS = 3
    mjORIENTATION_EULER = 4

class mjtLimited(IntEnum):
    mjLIMITED_FALSE = 0
    mjLIMITED_TRUE = 1
    mjLIMITED_AUTO = 2

class mjtAlignFree(IntEnum):
    mjALIGNFREE_FALSE = 0
    mjALIGNFREE_TRUE = 1
    mjALIGNFREE_AUTO = 2

class mjtInertiaFromGeom(IntEnum):
    mjINERTIAFROMGEOM_FALSE = 0
    mjINERTIAFROMGEOM_TRUE = 1
    mjINERTIAFROMGEOM_AUTO = 2

class mjtDyn(IntEnum):
    mjDYN_NONE = 0
    mjDYN_INTEGRATOR = 1
    mjDYN_FILTER = 2
    mjDYN_FILTEREXACT = 3
    mjDYN_MUSCLE = 4
    mjDYN_DCMOTOR = 5
    mjDYN_PID = 6
    mjDYN_USER = 7

class mjtMark(IntEnum):
    mjMARK_NONE = 0
    mjMARK_EDGE = 1
    mjMARK_CROSS = 2
    mjMARK_RANDOM = 3

class mjtTextureRole(IntEnum):
    mjTEXROLE_USER = 0
    mjTEXROLE_RGB = 1
    mjTEXROLE_OCCLUSION = 2
    mjTEXROLE_ROUGHNESS = 3
    mjTEXROLE_METALLIC = 4
    mjTEXROLE_NORMAL = 5
    mjTEXROLE_OPACITY = 6
    mjTEXROLE_EMISSIVE = 7
    mjTEXROLE_RGBA = 8
    mjTEXROLE_ORM = 9
    mjNTEXROLE = 10

class MjOption:
    ccd_iterations: int
    ccd_tolerance: float
    cone: int
    density: float
    disableactuator: int
    disableflags: int
    enableflags: int
    gravity: Floats
    impratio: float
    integrator: int
    iterations: int
    jacobian: int
    ls_iterations: int
    ls_tolerance: float
    magnetic: Floats
    noslip_iterations: int
    noslip_tolerance: float
    o_friction: Floats
    o_margin: float
    o_solimp: Floats
    o_solref: Floats
    sdf_initpoints: int
    sdf_iterations: int
    sleep_tolerance: float
    solver: int
    timestep: float
    tolerance: float
    viscosity: float
    wind: Floats

class MjStatistic:
    center: Floats
    extent: float
    meaninertia: float
    meanmass: float
    meansize: float

class MjVisualMap:
    actuatortendon: float
    alpha: float
    fogend: float
    fogstart: float
    force: float
    haze: float
    shadowclip: float
    shadowscale: float
    stiffness: float
    stiffnessrot: float
    torque: float
    zfar: float
    znear: float

class MjVisualGlobal:
    azimuth: float
    bvactive: int
    cameraid: int
    elevation: float
    ellipsoidinertia: int
    fovy: float
    glow: float
    ipd: float
    linewidth: float
    offheight: int
    offwidth: int
    orthographic: int
    realtime: float

class MjVisualQuality:
    numquads: int
    numslices: int
    numstacks: int
    offsamples: int
    shadowsize: int

class MjVisualHeadlight:
    active: int
    ambient: ArrayField
    diffuse: ArrayField
    specular: ArrayField

class MjVisual:
    global_: MjVisualGlobal
    quality: MjVisualQuality
    headlight: MjVisualHeadlight
    map: MjVisualMap

class FieldsByName:
    """A named view of one body, joint, geom, site, actuator: arrays of what MjModel or MjData keep of it."""

    id: int
    name: str
    def __getattr__(self, name: str) -> NDArray[Any]: ...
    def __setattr__(self, name: str, value: object) -> None: ...

class MjModel:
    opt: MjOption
    vis: MjVisual
    stat: MjStatistic
    actuator_acc0: Floats
    actuator_actadr: Ints
    actuator_actearly: Bools
    actuator_actlimited: Bools
    actuator_actnum: Ints
    actuator_actrange: Floats
    actuator_armature: Floats
    actuator_biasprm: Floats
    actuator_biastype: Ints
    actuator_cranklength: Floats
    actuator_ctrladr: Ints
    actuator_ctrllimited: Bools
    actuator_ctrlnum: Ints
    actuator_ctrlrange: Floats
    actuator_ctrlspec: Ints
    actuator_damping: Floats
    actuator_dampingpoly: Floats
    actuator_delay: Floats
    actuator_dynprm: Floats
    actuator_dyntype: Ints
    actuator_forcelimited: Bools
    actuator_forcerange: Floats
    actuator_gainprm: Floats
    actuator_gaintype: Ints
    actuator_gear: Floats
    actuator_group: Ints
    actuator_history: Ints
    actuator_historyadr: Ints
    actuator_length0: Floats
    actuator_lengthrange: Floats
    actuator_outadr: Ints
    actuator_outnum: Ints
    actuator_plugin: Ints
    actuator_trnid: Ints
    actuator_trntype: Ints
    actuator_user: Floats
    body_bvhadr: Ints
    body_bvhnum: Ints
    body_conaffinity: Ints
    body_contype: Ints
    body_dofadr: Ints
    body_dofnum: Ints
    body_geomadr: Ints
    body_geomnum: Ints
    body_gravcomp: Floats
    body_inertia: Floats
    body_invweight0: Floats
    body_ipos: Floats
    body_iquat: Floats
    body_jntadr: Ints
    body_jntnum: Ints
    body_margin: Floats
    body_mass: Floats
    body_mocapid: Ints
    body_parentid: Ints
    body_plugin: Ints
    body_pos: Floats
    body_quat: Floats
    body_rootid: Ints
    body_sameframe: Bytes
    body_simple: Bytes
    body_subtreemass: Floats
    body_treeid: Ints
    body_user: Floats
    body_weldid: Ints
    cam_bodyid: Ints
    cam_fovy: Floats
    cam_intrinsic: Floats32
    cam_ipd: Floats
    cam_mat0: Floats
    cam_mode: Ints
    cam_output: Ints
    cam_pos: Floats
    cam_pos0: Floats
    cam_poscom0: Floats
    cam_projection: Ints
    cam_quat: Floats
    cam_resolution: Ints
    cam_sensorsize: Floats32
    cam_targetbodyid: Ints
    cam_user: Floats
    dof_M0: Floats
    dof_Madr: Ints
    dof_armature: Floats
    dof_bodyid: Ints
    dof_damping: Floats
    dof_dampingpoly: Floats
    dof_frictionloss: Floats
    dof_invweight0: Floats
    dof_jntid: Ints
    dof_length: Floats
    dof_parentid: Ints
    dof_simplenum: Ints
    dof_solimp: Floats
    dof_solref: Floats
    dof_treeid: Ints
    eq_active0: Bools
    eq_data: Floats
    eq_obj1id: Ints
    eq_obj2id: Ints
    eq_objtype: Ints
    eq_solimp: Floats
    eq_solref: Floats
    eq_type: Ints
    exclude_signature: Ints
    geom_aabb: Floats
    geom_adhesion: Floats
    geom_bodyid: Ints
    geom_conaffinity: Ints
    geom_condim: Ints
    geom_contype: Ints
    geom_dataid: Ints
    geom_fluid: Floats
    geom_friction: Floats
    geom_gap: Floats
    geom_group: Ints
    geom_margin: Floats
    geom_matid: Ints
    geom_plugin: Ints
    geom_pos: Floats
    geom_priority: Ints
    geom_quat: Floats
    geom_rbound: Floats
    geom_rgba: Floats32
    geom_sameframe: Bytes
    geom_size: Floats
    geom_solimp: Floats
    geom_solmix: Floats
    geom_solref: Floats
    geom_surfacevel: Floats
    geom_type: Ints
    geom_user: Floats
    jnt_actfrclimited: Bools
    jnt_actfrcrange: Floats
    jnt_actgravcomp: Bools
    jnt_actuatorid: Ints
    jnt_axis: Floats
    jnt_bodyid: Ints
    jnt_dofadr: Ints
    jnt_group: Ints
    jnt_limited: Bools
    jnt_margin: Floats
    jnt_pos: Floats
    jnt_qposadr: Ints
    jnt_range: Floats
    jnt_solimp: Floats
    jnt_solref: Floats
    jnt_stiffness: Floats
    jnt_stiffnesspoly: Floats
    jnt_type: Ints
    jnt_user: Floats
    key_act: Floats
    key_ctrl: Floats
    key_mpos: Floats
    key_mquat: Floats
    key_qpos: Floats
    key_qvel: Floats
    key_time: Floats
    light_active: Bools
    light_ambient: Floats32
    light_attenuation: Floats32
    light_bodyid: Ints
    light_bulbradius: Floats32
    light_castshadow: Bools
    light_cutoff: Floats32
    light_diffuse: Floats32
    light_dir: Floats
    light_dir0: Floats
    light_exponent: Floats32
    light_intensity: Floats32
    light_mode: Ints
    light_pos: Floats
    light_pos0: Floats
    light_poscom0: Floats
    light_range: Floats32
    light_softness: Floats32
    light_specular: Floats32
    light_targetbodyid: Ints
    light_texid: Ints
    light_type: Ints
    mat_emission: Floats32
    mat_metallic: Floats32
    mat_reflectance: Floats32
    mat_rgba: Floats32
    mat_roughness: Floats32
    mat_shininess: Floats32
    mat_specular: Floats32
    mat_texid: Ints
    mat_texrepeat: Floats32
    mat_texuniform: Bools
    na: int
    names: bytes
    nbody: int
    nbvh: int
    ncam: int
    nconmax: int
    neq: int
    nexclude: int
    ngeom: int
    njnt: int
    nkey: int
    nlight: int
    nmat: int
    nmocap: int
    nnames: int
    npair: int
    nq: int
    nsensor: int
    nsensordata: int
    nsite: int
    ntex: int
    nu: int
    nuserdata: int
    nv: int
    pair_adhesion: Floats
    pair_dim: Ints
    pair_friction: Floats
    pair_gap: Floats
    pair_geom1: Ints
    pair_geom2: Ints
    pair_margin: Floats
    pair_signature: Ints
    pair_solimp: Floats
    pair_solref: Floats
    pair_solreffriction: Floats
    qpos0: Floats
    qpos_spring: Floats
    sensor_adr: Ints
    sensor_cutoff: Floats
    sensor_datatype: Ints
    sensor_delay: Floats
    sensor_dim: Ints
    sensor_history: Ints
    sensor_historyadr: Ints
    sensor_interval: Floats
    sensor_intprm: Ints
    sensor_needstage: Ints
    sensor_noise: Floats
    sensor_objid: Ints
    sensor_objtype: Ints
    sensor_plugin: Ints
    sensor_refid: Ints
    sensor_reftype: Ints
    sensor_type: Ints
    sensor_user: Floats
    site_bodyid: Ints
    site_dataid: Ints
    site_group: Ints
    site_matid: Ints
    site_pos: Floats
    site_quat: Floats
    site_rgba: Floats32
    site_sameframe: Bytes
    site_size: Floats
    site_type: Ints
    site_user: Floats
    tex_adr: NDArray[np.int64]
    tex_colorspace: Ints
    tex_data: Bytes
    tex_height: Ints
    tex_nchannel: Ints
    tex_pathadr: Ints
    tex_type: Ints
    tex_width: Ints
    @classmethod
    def from_xml_string(cls, xml: str, assets: dict[str, bytes] | None = None) -> MjModel: ...
    @classmethod
    def from_xml_path(cls, filename: str, assets: dict[str, bytes] | None = None) -> MjModel: ...
    def actuator(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def body(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def camera(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def cam(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def equality(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def eq(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def exclude(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def geom(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def joint(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def jnt(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def key(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def keyframe(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def light(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def mat(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def material(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def sensor(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def site(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def tex(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def texture(self, name_or_id: str | int = ..., /) -> FieldsByName: ...

class MjContact:
    H: Floats
    adhesion: float
    dim: int
    dist: float
    efc_address: int
    elem: Ints
    exclude: int
    flex: Ints
    frame: Floats
    friction: Floats
    geom: Ints
    geom1: int
    geom2: int
    includemargin: float
    mu: float
    pos: Floats
    solimp: Floats
    solref: Floats
    solreffriction: Floats
    vert: Ints

class MjContactList:
    """All contacts; the same fields as MjContact, one row each, and one contact by index."""

    H: Floats
    adhesion: Floats
    dim: Ints
    dist: Floats
    efc_address: Ints
    elem: Ints
    exclude: Ints
    flex: Ints
    frame: Floats
    friction: Floats
    geom: Ints
    geom1: Ints
    geom2: Ints
    includemargin: Floats
    mu: Floats
    pos: Floats
    solimp: Floats
    solref: Floats
    solreffriction: Floats
    vert: Ints
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> MjContact: ...

class MjWarningStat:
    lastinfo: int
    number: int

class MjData:
    def __init__(self, model: MjModel) -> None: ...
    def __copy__(self) -> MjData: ...
    contact: MjContactList
    warning: Sequence[MjWarningStat]
    act: Floats
    act_dot: Floats
    actuator_force: Floats
    actuator_length: Floats
    actuator_velocity: Floats
    cam_xmat: Floats
    cam_xpos: Floats
    cdof: Floats
    cfrc_ext: Floats
    cinert: Floats
    ctrl: Floats
    cvel: Floats
    efc_force: Floats
    energy: Floats
    eq_active: Bools
    geom_xmat: Floats
    geom_xpos: Floats
    light_xdir: Floats
    light_xpos: Floats
    maxuse_con: int
    maxuse_efc: int
    mocap_pos: Floats
    mocap_quat: Floats
    ncon: int
    ne: int
    nefc: int
    nf: int
    nl: int
    qacc: Floats
    qacc_warmstart: Floats
    qfrc_actuator: Floats
    qfrc_applied: Floats
    qfrc_bias: Floats
    qfrc_constraint: Floats
    qfrc_passive: Floats
    qpos: Floats
    qvel: Floats
    sensordata: Floats
    site_xmat: Floats
    site_xpos: Floats
    solver_niter: Ints
    subtree_com: Floats
    time: float
    userdata: Floats
    xanchor: Floats
    xaxis: Floats
    xfrc_applied: Floats
    ximat: Floats
    xipos: Floats
    xmat: Floats
    xpos: Floats
    xquat: Floats
    def actuator(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def body(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def camera(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def cam(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def geom(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def joint(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def jnt(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def light(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def sensor(self, name_or_id: str | int = ..., /) -> FieldsByName: ...
    def site(self, name_or_id: str | int = ..., /) -> FieldsByName: ...

class MjsCompiler:
    alignfree: bool
    authored: int
    autolimits: bool
    balanceinertia: bool
    boundinertia: float
    boundmass: float
    degree: bool
    discardvisual: bool
    fitaabb: bool
    fusestatic: bool
    inertiagrouprange: Ints
    meshdir: str
    saveinertial: bool
    settotalmass: float
    texturedir: str
    usethread: bool

class MjsOrientation:
    axisangle: Floats
    euler: Floats
    xyaxes: Floats
    zaxis: Floats

class MjsMaterial:
    emission: float
    id: int
    metallic: float
    name: str
    reflectance: float
    rgba: ArrayField
    roughness: float
    shininess: float
    specular: float
    texrepeat: ArrayField
    texuniform: bool

class MjsTexture:
    builtin: mjtBuiltin
    colorspace: int
    data: bytes
    gridsize: ArrayField
    height: int
    hflip: bool
    id: int
    mark: mjtMark
    markrgb: ArrayField
    name: str
    nchannel: int
    random: float
    rgb1: ArrayField
    rgb2: ArrayField
    type: mjtTexture
    vflip: bool
    width: int

class MjsLight:
    active: bool
    ambient: ArrayField
    attenuation: ArrayField
    bulbradius: float
    castshadow: bool
    cutoff: float
    diffuse: ArrayField
    dir: ArrayField
    exponent: float
    id: int
    intensity: float
    mode: mjtCamLight
    name: str
    parent: MjsBody
    pos: ArrayField
    range: float
    softness: float
    specular: ArrayField
    targetbody: str
    texture: str
    type: mjtLightType

class MjsCamera:
    alt: MjsOrientation
    focal_length: ArrayField
    focal_pixel: ArrayField
    fovy: float
    id: int
    intrinsic: ArrayField
    ipd: float
    mode: mjtCamLight
    name: str
    output: int
    parent: MjsBody
    pos: ArrayField
    principal_length: ArrayField
    principal_pixel: ArrayField
    proj: int
    quat: ArrayField
    resolution: ArrayField
    sensor_size: ArrayField
    targetbody: str

class MjsGeom:
    alt: MjsOrientation
    conaffinity: int
    condim: int
    contype: int
    density: float
    friction: ArrayField
    fromto: ArrayField
    gap: float
    group: int
    id: int
    margin: float
    mass: float
    material: str
    name: str
    parent: MjsBody
    pos: ArrayField
    priority: int
    quat: ArrayField
    rgba: ArrayField
    size: ArrayField
    solimp: ArrayField
    solmix: float
    solref: ArrayField
    type: mjtGeom
    typeinertia: mjtGeomInertia

class MjsSite:
    alt: MjsOrientation
    fromto: ArrayField
    group: int
    id: int
    material: str
    name: str
    parent: MjsBody
    pos: ArrayField
    quat: ArrayField
    rgba: ArrayField
    size: ArrayField
    type: mjtGeom

class MjsJoint:
    actfrclimited: mjtLimited
    actfrcrange: ArrayField
    actgravcomp: bool
    align: mjtAlignFree
    armature: float
    axis: ArrayField
    damping: ArrayField
    frictionloss: float
    group: int
    id: int
    limited: mjtLimited
    margin: float
    name: str
    parent: MjsBody
    pos: ArrayField
    range: ArrayField
    ref: float
    solimp_friction: ArrayField
    solimp_limit: ArrayField
    solref_friction: ArrayField
    solref_limit: ArrayField
    springref: float
    stiffness: ArrayField
    type: mjtJoint

class MjsActuator:
    actdim: int
    actlimited: mjtLimited
    actrange: ArrayField
    armature: float
    biasprm: ArrayField
    biastype: mjtBias
    ctrllimited: mjtLimited
    ctrlrange: ArrayField
    ctrlspec: int
    damping: ArrayField
    dynprm: ArrayField
    dyntype: mjtDyn
    ffrange: ArrayField
    forcelimited: mjtLimited
    forcerange: ArrayField
    gainprm: ArrayField
    gaintype: mjtGain
    gear: ArrayField
    group: int
    id: int
    inheritrange: float
    lengthrange: ArrayField
    name: str
    refsite: str
    target: str
    trntype: mjtTrn
    velrange: ArrayField
    def set_to_position(
        self, kp: float, kv: float = ..., dampratio: float = ..., timeconst: float = ..., inheritrange: float = ...
    ) -> None: ...
    def set_to_motor(self) -> None: ...

class MjsEquality:
    active: bool
    data: ArrayField
    id: int
    name: str
    name1: str
    name2: str
    objtype: mjtObj
    solimp: ArrayField
    solref: ArrayField
    type: mjtEq

class MjsExclude:
    bodyname1: str
    bodyname2: str
    id: int
    name: str

class MjsSensor:
    cutoff: float
    dim: int
    id: int
    interval: ArrayField
    intprm: ArrayField
    name: str
    noise: float
    objname: str
    objtype: mjtObj
    refname: str
    reftype: mjtObj
    type: int

class MjsKey:
    id: int
    name: str
    time: float

class MjsFrame:
    name: str
    pos: Any
    quat: Any
    alt: MjsOrientation
    def add_body(self, default: MjsDefault | None = None, **fields: object) -> MjsBody: ...
    def add_geom(self, default: MjsDefault | None = None, **fields: object) -> MjsGeom: ...
    def add_site(self, default: MjsDefault | None = None, **fields: object) -> MjsSite: ...
    def add_camera(self, default: MjsDefault | None = None, **fields: object) -> MjsCamera: ...
    def add_light(self, default: MjsDefault | None = None, **fields: object) -> MjsLight: ...
    def add_frame(self, default: MjsDefault | None = None, **fields: object) -> MjsFrame: ...

class MjsBody:
    alt: MjsOrientation
    childclass: str
    explicitinertial: bool
    fullinertia: ArrayField
    gravcomp: float
    ialt: MjsOrientation
    id: int
    inertia: ArrayField
    ipos: ArrayField
    iquat: ArrayField
    mass: float
    mocap: bool
    name: str
    parent: MjsBody
    pos: ArrayField
    quat: ArrayField
    simple: int
    def add_body(self, default: MjsDefault | None = None, **fields: object) -> MjsBody: ...
    def add_geom(self, default: MjsDefault | None = None, **fields: object) -> MjsGeom: ...
    def add_joint(self, default: MjsDefault | None = None, **fields: object) -> MjsJoint: ...
    def add_site(self, default: MjsDefault | None = None, **fields: object) -> MjsSite: ...
    def add_camera(self, default: MjsDefault | None = None, **fields: object) -> MjsCamera: ...
    def add_light(self, default: MjsDefault | None = None, **fields: object) -> MjsLight: ...
    def add_frame(self, default: MjsDefault | None = None, **fields: object) -> MjsFrame: ...
    def add_freejoint(self, **fields: object) -> MjsJoint: ...
    def find_child(self, name: str) -> MjsBody | None: ...
    def first_body(self) -> MjsBody | None: ...
    def next_body(self, child: MjsBody) -> MjsBody | None: ...
    @property
    def bodies(self) -> list[MjsBody]: ...
    @property
    def geoms(self) -> list[MjsGeom]: ...
    @property
    def joints(self) -> list[MjsJoint]: ...
    @property
    def sites(self) -> list[MjsSite]: ...
    @property
    def cameras(self) -> list[MjsCamera]: ...
    @property
    def lights(self) -> list[MjsLight]: ...
    @property
    def frames(self) -> list[MjsFrame]: ...

class MjsDefault:
    name: str
    geom: MjsGeom
    joint: MjsJoint
    site: MjsSite
    actuator: MjsActuator
    material: MjsMaterial
    equality: MjsEquality
    light: MjsLight
    camera: MjsCamera

class MjSpec:
    def __init__(self) -> None: ...
    @staticmethod
    def from_string(xml: str) -> MjSpec: ...
    @staticmethod
    def from_file(filename: str) -> MjSpec: ...
    def copy(self) -> MjSpec: ...
    def compile(self) -> MjModel: ...
    def recompile(self, model: MjModel, data: MjData) -> tuple[MjModel, MjData]: ...
    def to_xml(self) -> str: ...
    def delete(self, element: object) -> None: ...
    modelname: str
    comment: str
    memory: int
    compiler: MjsCompiler
    option: MjOption
    stat: MjStatistic
    visual: MjVisual
    @property
    def worldbody(self) -> MjsBody: ...
    @property
    def default(self) -> MjsDefault: ...
    def add_default(self, name: str, parent: MjsDefault | None = None) -> MjsDefault: ...
    def find_default(self, name: str) -> MjsDefault | None: ...
    def add_actuator(self, default: MjsDefault | None = None, **fields: object) -> MjsActuator: ...
    def add_equality(self, default: MjsDefault | None = None, **fields: object) -> MjsEquality: ...
    def add_exclude(self, **fields: object) -> MjsExclude: ...
    def add_material(self, default: MjsDefault | None = None, **fields: object) -> MjsMaterial: ...
    def add_texture(self, **fields: object) -> MjsTexture: ...
    def add_sensor(self, **fields: object) -> MjsSensor: ...
    def add_key(self, **fields: object) -> MjsKey: ...
    def body(self, name: str) -> MjsBody: ...
    def geom(self, name: str) -> MjsGeom: ...
    def joint(self, name: str) -> MjsJoint: ...
    def site(self, name: str) -> MjsSite: ...
    def camera(self, name: str) -> MjsCamera: ...
    def light(self, name: str) -> MjsLight: ...
    def actuator(self, name: str) -> MjsActuator: ...
    def equality(self, name: str) -> MjsEquality: ...
    def exclude(self, name: str) -> MjsExclude: ...
    def material(self, name: str) -> MjsMaterial: ...
    def texture(self, name: str) -> MjsTexture: ...
    def sensor(self, name: str) -> MjsSensor: ...
    def key(self, name: str) -> MjsKey: ...
    def frame(self, name: str) -> MjsFrame: ...
    @property
    def bodies(self) -> list[MjsBody]: ...
    @property
    def geoms(self) -> list[MjsGeom]: ...
    @property
    def joints(self) -> list[MjsJoint]: ...
    @property
    def sites(self) -> list[MjsSite]: ...
    @property
    def cameras(self) -> list[MjsCamera]: ...
    @property
    def lights(self) -> list[MjsLight]: ...
    @property
    def actuators(self) -> list[MjsActuator]: ...
    @property
    def equalities(self) -> list[MjsEquality]: ...
    @property
    def excludes(self) -> list[MjsExclude]: ...
    @property
    def materials(self) -> list[MjsMaterial]: ...
    @property
    def textures(self) -> list[MjsTexture]: ...
    @property
    def sensors(self) -> list[MjsSensor]: ...
    @property
    def keys(self) -> list[MjsKey]: ...
    @property
    def frames(self) -> list[MjsFrame]: ...

def mj_step(m: MjModel, d: MjData, nstep: int = ...) -> None: ...
def mj_step1(m: MjModel, d: MjData) -> None: ...
def mj_step2(m: MjModel, d: MjData) -> None: ...
def mj_forward(m: MjModel, d: MjData) -> None: ...
def mj_kinematics(m: MjModel, d: MjData) -> None: ...
def mj_comPos(m: MjModel, d: MjData) -> None: ...
def mj_fwdPosition(m: MjModel, d: MjData) -> None: ...
def mj_fwdVelocity(m: MjModel, d: MjData) -> None: ...
def mj_collision(m: MjModel, d: MjData) -> None: ...
def mj_resetData(m: MjModel, d: MjData) -> None: ...
def mj_resetDataKeyframe(m: MjModel, d: MjData, key: int) -> None: ...
def mj_setConst(m: MjModel, d: MjData) -> None: ...
def mj_jac(m: MjModel, d: MjData, jacp: Floats | None, jacr: Floats | None, point: ArrayLike, body: int) -> None: ...
def mj_jacSite(m: MjModel, d: MjData, jacp: Floats | None, jacr: Floats | None, site: int) -> None: ...
def mj_jacBody(m: MjModel, d: MjData, jacp: Floats | None, jacr: Floats | None, body: int) -> None: ...
def mj_jacBodyCom(m: MjModel, d: MjData, jacp: Floats | None, jacr: Floats | None, body: int) -> None: ...
def mj_ray(
    m: MjModel,
    d: MjData,
    pnt: ArrayLike,
    vec: ArrayLike,
    geomgroup: Bytes | None,
    flg_static: bool,
    bodyexclude: int,
    geomid: Ints | None,
    normal: Floats | None = ...,
) -> float: ...
def mj_multiRay(
    m: MjModel,
    d: MjData,
    pnt: ArrayLike,
    vec: ArrayLike,
    geomgroup: Bytes | None,
    flg_static: bool,
    bodyexclude: int,
    geomid: Ints,
    dist: Floats,
    normal: Floats | None,
    nray: int,
    cutoff: float,
) -> None: ...
def mj_geomDistance(m: MjModel, d: MjData, geom1: int, geom2: int, distmax: float, fromto: Floats | None) -> float: ...
def mj_contactForce(m: MjModel, d: MjData, id: int, result: Floats) -> None: ...
def mj_objectVelocity(m: MjModel, d: MjData, objtype: int, objid: int, res: Floats, flg_local: int) -> None: ...
def mj_name2id(m: MjModel, type: int, name: str) -> int: ...
def mj_id2name(m: MjModel, type: int, id: int) -> str: ...
def mj_stateSize(m: MjModel, sig: int) -> int: ...
def mj_getState(m: MjModel, d: MjData, state: Floats, sig: int) -> None: ...
def mj_setState(m: MjModel, d: MjData, state: ArrayLike, sig: int) -> None: ...
def mj_copyData(dest: MjData, m: MjModel, src: MjData) -> None: ...
def mj_integratePos(m: MjModel, qpos: Floats, qvel: ArrayLike, dt: float) -> None: ...
def mj_differentiatePos(m: MjModel, qvel: Floats, dt: float, qpos1: ArrayLike, qpos2: ArrayLike) -> None: ...
def mj_normalizeQuat(m: MjModel, qpos: Floats) -> None: ...
def mj_isPyramidal(m: MjModel) -> int: ...
def mj_subtreeVel(m: MjModel, d: MjData) -> None: ...
def mj_rnePostConstraint(m: MjModel, d: MjData) -> None: ...
def mj_camlight(m: MjModel, d: MjData) -> None: ...
def mj_tendon(m: MjModel, d: MjData) -> None: ...
def mj_transmission(m: MjModel, d: MjData) -> None: ...
def mj_mulM(m: MjModel, d: MjData, res: Floats, vec: ArrayLike) -> None: ...
def mj_fullM(m: MjModel, d: MjData, dst: Floats) -> None: ...
def mj_applyFT(
    m: MjModel, d: MjData, force: ArrayLike, torque: ArrayLike, point: ArrayLike, body: int, qfrc_target: Floats
) -> None: ...
def mju_rayGeom(
    pos: ArrayLike,
    mat: ArrayLike,
    size: ArrayLike,
    pnt: ArrayLike,
    vec: ArrayLike,
    geomtype: int,
    normal: Floats | None = ...,
) -> float: ...
def mju_cholFactor(mat: Floats, mindiag: float) -> int: ...
def mju_cholSolve(res: Floats, mat: ArrayLike, vec: ArrayLike) -> None: ...
def mju_mat2Quat(quat: Floats, mat: ArrayLike) -> None: ...
def mju_quat2Mat(res: Floats, quat: ArrayLike) -> None: ...
def mju_quatIntegrate(quat: Floats, vel: ArrayLike, scale: float) -> None: ...
def mju_mulQuat(res: Floats, quat1: ArrayLike, quat2: ArrayLike) -> None: ...
def mju_negQuat(res: Floats, quat: ArrayLike) -> None: ...
def mju_rotVecQuat(res: Floats, vec: ArrayLike, quat: ArrayLike) -> None: ...
def mju_quat2Vel(res: Floats, quat: ArrayLike, dt: float) -> None: ...
def mju_subQuat(res: Floats, qa: ArrayLike, qb: ArrayLike) -> None: ...
def mju_axisAngle2Quat(res: Floats, axis: ArrayLike, angle: float) -> None: ...
def mju_negPose(posres: Floats, quatres: Floats, pos: ArrayLike, quat: ArrayLike) -> None: ...
def mju_mulPose(
    posres: Floats, quatres: Floats, pos1: ArrayLike, quat1: ArrayLike, pos2: ArrayLike, quat2: ArrayLike
) -> None: ...
def mju_euler2Quat(quat: Floats, euler: ArrayLike, seq: str) -> None: ...
def get_mjcb_control() -> Callable[[MjModel, MjData], None] | None: ...
def set_mju_user_warning(handler: Callable[[str], None] | None) -> None: ...

class FatalError(Exception): ...

class mjtFontScale(IntEnum):
    mjFONTSCALE_50 = 50
    mjFONTSCALE_100 = 100

class mjtDepthMap(IntEnum):
    mjDEPTH_ZERONEAR = 0
    mjDEPTH_ZEROFAR = 1

class mjtFramebuffer(IntEnum):
    mjFB_WINDOW = 0
    mjFB_OFFSCREEN = 1

class mjtCatBit(IntEnum):
    mjCAT_STATIC = 1
    mjCAT_DYNAMIC = 2
    mjCAT_DECOR = 4
    mjCAT_ALL = 7

class MjvOption:
    def __init__(self) -> None: ...
    geomgroup: Bytes
    sitegroup: Bytes
    flags: Bytes

class MjvCamera:
    """A free camera unless told otherwise."""

    def __init__(self) -> None: ...
    type: int
    fixedcamid: int

class MjvGLCamera:
    pos: Floats32
    forward: Floats32
    up: Floats32
    orthographic: int
    frustum_center: float
    frustum_width: float
    frustum_bottom: float
    frustum_top: float
    frustum_near: float
    frustum_far: float

class MjvGeom:
    objtype: int
    objid: int
    segid: int

class MjvScene:
    def __init__(self, model: MjModel, maxgeom: int) -> None: ...
    camera: Sequence[MjvGLCamera]
    geoms: Sequence[MjvGeom]
    flags: Bytes
    ngeom: int

class MjrRect:
    def __init__(self, left: int, bottom: int, width: int, height: int) -> None: ...

class MjrContext:
    def __init__(self, model: MjModel, fontscale: int) -> None: ...
    def free(self) -> None: ...
    readDepthMap: int

def mjv_updateScene(
    m: MjModel, d: MjData, opt: MjvOption, pert: None, cam: MjvCamera, catmask: int, scn: MjvScene
) -> None: ...
def mjr_setBuffer(framebuffer: int, con: MjrContext) -> None: ...
def mjr_render(viewport: MjrRect, scn: MjvScene, con: MjrContext) -> None: ...
def mjr_readPixels(rgb: Bytes | None, depth: Floats32 | None, viewport: MjrRect, con: MjrContext) -> None: ...
