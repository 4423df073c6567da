package edgevit.core;

/** A picture cannot be used; the message is meant for the person at the screen. */
public final class PictureException extends Exception {
    private static final long serialVersionUID = 1L;

    public PictureException(String message) {
        super(message);
    }
}
