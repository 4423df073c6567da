package edgevit.core;

/**
 * Says whether a measurement may go on. It may not in the background, where Android slows an app down or stops it, nor while the
 * camera streams, which takes cores and heat. Set by the main thread, asked by the one that measures.
 */
public final class RunGuard {
    public static final String BACKGROUND = "the app went to the background";
    public static final String CAMERA = "the camera was opened";
    public static final String USER = "stopped by the user";
    public static final String OTHER_MODEL = "another model was chosen";

    private volatile boolean isForeground;
    private volatile boolean isCameraOpen;
    private volatile String why;

    /** Begin a measurement: whatever ended the last one is forgotten. */
    public void begin() {
        why = null;
    }

    public void setForeground(boolean is) {
        isForeground = is;
        if (!is) {
            end(BACKGROUND);
        }
    }

    public void setCameraOpen(boolean is) {
        isCameraOpen = is;
        if (is) {
            end(CAMERA);
        }
    }

    /** End the measurement that runs, if one does; the first reason is kept. */
    public void end(String reason) {
        if (why == null) {
            why = reason;
        }
    }

    /** Return why a measurement may not go on, null while it may. */
    public String reason() {
        if (why != null) {
            return why;
        }
        return !isForeground ? BACKGROUND : isCameraOpen ? CAMERA : null;
    }

    public boolean isForeground() {
        return isForeground;
    }

    public boolean isCameraOpen() {
        return isCameraOpen;
    }
}
