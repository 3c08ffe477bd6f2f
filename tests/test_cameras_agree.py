"""The world model's cameras are the robot description's and the twin's: same places, same pixels."""

import cv2
import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ws_rollouts.episode import STATE, STATE_SIZE, TOOL_DOWN
from ws_rollouts.task import load_task
from ws_twin_a1x.cameras import HEIGHT, INTRINSICS, WIDTH
from ws_twin_a1x.twin import Twin
from ws_world_model.calibration import Calibration, CalibrationOptions, Camera

TASK = load_task("pushing")
JOINTS = np.array([0.2, 1.7, -1.2, 1.0, 0.1, -0.2])


@pytest.fixture(scope="module")
def twin():
    twin = Twin(TASK, 0)
    twin.place_arm(JOINTS)
    yield twin
    twin.close()


def state_of(twin):
    """Proprioception of the twin's tool, as the policy's servo state gives it."""
    body = twin.data.body("gripper_link")
    state = np.zeros((1, STATE_SIZE), np.float32)
    state[0, STATE["position"]] = body.xpos
    state[0, STATE["rotation"]] = Rotation.from_matrix(TOOL_DOWN.T @ body.xmat.reshape(3, 3)).as_rotvec()
    return state


def optical(twin, view):
    """Position and optical rotation (right, down, forward) of the twin's camera."""
    camera = twin.data.camera(view)
    right, up, back = camera.xmat.reshape(3, 3).T
    return camera.xpos, np.column_stack([right, -up, -back])


def test_intrinsics_are_the_same():
    options = CalibrationOptions()
    assert (*options.focal, *options.centre) == INTRINSICS


def test_side_camera_stands_in_the_same_place(twin):
    position, rotation = optical(twin, "side")
    camera = Calibration(TASK).side
    np.testing.assert_allclose(camera.position, position, atol=1e-6)
    np.testing.assert_allclose(camera.rotation, rotation, atol=1e-6)


def test_wrist_camera_moves_with_the_tool(twin):
    position, rotation = optical(twin, "wrist")
    (here,), (turned,) = Calibration(TASK).wrist_pose(state_of(twin))
    np.testing.assert_allclose(here, position, atol=1e-6)
    np.testing.assert_allclose(turned, rotation, atol=1e-6)


@pytest.mark.parametrize("view", ["side", "wrist"])
def test_points_appear_where_the_twin_draws_them(twin, view):
    """A small red ball, drawn at known places, is found at the projected pixel."""
    options = CalibrationOptions()
    camera = Camera(np.zeros(3), np.zeros(3), options, (0, 0, WIDTH, HEIGHT), 64)
    camera.matrix = np.array([[options.focal[0], 0, options.centre[0]], [0, options.focal[1], options.centre[1]],
                              [0, 0, 1]])
    camera.position, camera.rotation = optical(twin, view)
    for where in ([0.0, 0.0, 0.12], [0.05, -0.02, 0.12], [-0.04, 0.03, 0.12]):
        point = camera.position + camera.rotation @ where
        found = ball_pixel(twin, view, point)
        column, row, _ = camera.project(point)
        assert np.hypot(*(found - (column, row))) < 1.5, f"{found} is not {column:.1f}, {row:.1f}"


def ball_pixel(twin, view, point):
    """Middle of a red ball at `point`, in px of the camera's frame."""
    empty = twin.render(view).astype(int)
    scene = twin._cameras[False]._scene
    draw = mujoco.mjv_updateScene

    def with_ball(*arguments):
        draw(*arguments)
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_SPHERE, [0.004, 0, 0], point, np.eye(3).ravel(),
                            np.array([1, 0, 0, 1], np.float32))
        scene.ngeom += 1

    mujoco.mjv_updateScene = with_ball
    try:
        picture = twin.render(view).astype(int)
    finally:
        mujoco.mjv_updateScene = draw
    ball = (np.abs(picture - empty).max(-1) > 10).astype(np.uint8)
    moments = cv2.moments(ball, binaryImage=True)
    assert moments["m00"] > 5, "the ball is not in the picture"
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]
