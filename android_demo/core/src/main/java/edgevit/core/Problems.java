package edgevit.core;

import edgevit.core.UiState.Problem;

/** What can go wrong, and what to do about it. */
public final class Problems {
    private Problems() {}

    public static Problem noModel() {
        return new Problem(Text.of(Say.NO_MODEL), Text.of(Say.NO_MODEL_HINT), true);
    }

    public static Problem model(ModelException e) {
        return new Problem(Text.raw(e.getMessage()), Text.of(Say.OTHER_MODEL), true);
    }

    /** The model to compare with cannot be loaded; the chosen one is there. */
    public static Problem otherModel(ModelException e) {
        return new Problem(Text.raw(e.getMessage()), Text.of(Say.OTHER_COMPARED), false);
    }

    public static Problem noRuntime(String target) {
        return new Problem(Text.of(Say.NO_RUNTIME, target), Text.of(Say.NO_RUNTIME_HINT), true);
    }

    public static Problem tooLarge(long width, long height, long limit) {
        return new Problem(Text.of(Say.TOO_LARGE, width, height), Text.of(Say.TOO_LARGE_HINT, limit / 1_000_000), false);
    }

    public static Problem unreadable(Text reason) {
        return new Problem(Text.of(Say.UNREADABLE, reason), Text.of(Say.OTHER_PICTURE), false);
    }

    public static Problem picture(PictureException e) {
        return new Problem(Text.of(Say.UNUSABLE), Text.raw(e.getMessage()), false);
    }

    public static Problem noPicker() {
        return new Problem(Text.of(Say.NO_PICKER), Text.of(Say.TAKE_CAMERA), false);
    }

    public static Problem noCamera() {
        return new Problem(Text.of(Say.NO_CAMERA), Text.of(Say.TAKE_PICTURE), false);
    }

    public static Problem cameraRefused() {
        return new Problem(Text.of(Say.CAMERA_REFUSED), Text.of(Say.CAMERA_REFUSED_HINT), false);
    }

    public static Problem cameraFailed(Text reason) {
        return new Problem(Text.of(Say.CAMERA_FAILED, reason), Text.of(Say.CAMERA_FAILED_HINT), false);
    }
}
