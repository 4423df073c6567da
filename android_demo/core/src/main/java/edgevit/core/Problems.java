package edgevit.core;

import edgevit.core.UiState.Problem;

/** What can go wrong, in the words of the screen. */
public final class Problems {
    private Problems() {}

    public static Problem noModel() {
        String hint = "Put one in with: python -m edge_vit.deployment.android MODEL.pte --into android_demo";
        return new Problem("This app was built without a model.", hint, true);
    }

    public static Problem model(ModelException e) {
        return new Problem(e.getMessage(), "Choose another model or runtime.", true);
    }

    public static Problem noRuntime(String target) {
        return new Problem(
                "No runtime for " + target + " files is part of this app.", "Build the flavour that carries it.", true);
    }

    public static Problem tooLarge(long width, long height, long limit) {
        String size = width + " x " + height + " pixels";
        return new Problem(
                "The picture is too large: " + size + ".", "At most " + limit / 1_000_000 + " million pixels fit; shrink it first.",
                false);
    }

    public static Problem unreadable(String reason) {
        return new Problem("The picture cannot be read (" + reason + ").", "Choose another one.", false);
    }

    public static Problem picture(PictureException e) {
        return new Problem("The picture cannot be used.", e.getMessage(), false);
    }

    public static Problem noPicker() {
        return new Problem("No app on this device offers pictures.", "Use the camera instead.", false);
    }

    public static Problem noCamera() {
        return new Problem("This device has no camera that can be used.", "Choose a picture instead.", false);
    }

    public static Problem cameraRefused() {
        return new Problem(
                "The camera was not allowed.", "Allow it in the system's settings for this app, or choose a picture instead.", false);
    }

    public static Problem cameraFailed(String reason) {
        return new Problem("The camera stopped (" + reason + ").", "Close other apps that use it, and try again.", false);
    }
}
