package edgevit.core;

/** Frames a second over the last frames, each smoothed over a few. A pause begins anew. */
public final class FrameRate {
    private static final int KEPT = 60;
    private static final int SMOOTHED = 6;
    private static final long PAUSE_NANOS = 2_000_000_000L;

    private final long[] at = new long[KEPT + SMOOTHED];
    private int count;

    /** Take in that a frame was done. */
    public void add(long nanos) {
        if (count > 0 && nanos - at[(count - 1) % at.length] > PAUSE_NANOS) {
            count = 0;
        }
        at[count++ % at.length] = nanos;
    }

    /** Return the rates, the last frame's last; none until there are enough frames to tell. */
    public double[] rates() {
        int kept = Math.max(0, Math.min(count - SMOOTHED, KEPT));
        double[] rates = new double[kept];
        for (int i = 0; i < kept; i++) {
            int now = count - kept + i;
            long nanos = at[now % at.length] - at[(now - SMOOTHED) % at.length];
            rates[i] = SMOOTHED * 1e9 / Math.max(1, nanos);
        }
        return rates;
    }
}
