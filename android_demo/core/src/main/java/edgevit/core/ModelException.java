package edgevit.core;

/** A model, its manifest or its runtime cannot be used; the message is meant for the person at the screen. */
public final class ModelException extends Exception {
    private static final long serialVersionUID = 1L;

    public ModelException(String message) {
        super(message);
    }

    public ModelException(String message, Throwable cause) {
        super(message, cause);
    }
}
