package edgevit.core;

import java.util.ArrayList;
import java.util.List;

/** Puts the marks of a record, which are bench_arm's words, into texts. */
final class Marks {
    private static final String HOT = "hot (";

    private Marks() {}

    static List<Text> say(List<String> marks) {
        List<Text> found = new ArrayList<>();
        for (String mark : marks) {
            found.add(say(mark));
        }
        return found;
    }

    private static Text say(String mark) {
        if (mark.startsWith(HOT)) {
            return Text.of(Say.MARK_HOT, mark.substring(HOT.length(), mark.length() - 1));
        }
        if (mark.startsWith("partial") || mark.startsWith("failed")) {
            return Text.of(Say.MARK_PARTIAL);
        }
        if (mark.startsWith("under ")) {
            return Text.of(Say.MARK_FEW, BenchmarkRecord.MIN_RUNS);
        }
        switch (mark) {
            case "emulated":
                return Text.of(Say.MARK_EMULATED);
            case "throttled":
                return Text.of(Say.MARK_THROTTLED);
            case "not reproducible":
                return Text.of(Say.MARK_DRIFT);
            case "warm-up not steady":
                return Text.of(Say.MARK_RESTLESS);
            default:
                return Text.raw(mark);
        }
    }
}
