package edgevit.core;

import java.nio.BufferUnderflowException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a model says of itself, for one that comes without its manifest. */
final class OwnMetadata {
    private OwnMetadata() {}

    /**
     * Return a manifest made of a model's own metadata, null if it has none.
     *
     * @throws ModelException if it has, and it does not fit this app
     */
    static Manifest read(byte[] file, String name, String sha256) throws ModelException {
        try {
            FlatTables flat = new FlatTables(file);
            Map<String, Object> all = name.endsWith(".pte") ? PteMetadata.read(flat) : TfliteMetadata.read(flat, name);
            return all == null ? null : Manifest.parse(Json.write(whole(all, name, file.length, sha256)));
        } catch (IndexOutOfBoundsException | BufferUnderflowException | IllegalArgumentException e) {
            throw new ModelException(name + ": its own metadata cannot be read; the file is cut short or damaged", e);
        } catch (ModelException e) {
            throw new ModelException(name + ", by its own metadata: " + e.getMessage(), e);
        }
    }

    /** Add what every file says by being there, and null for what only a manifest knows. */
    private static Map<String, Object> whole(Map<String, Object> all, String name, long numBytes, String sha256) {
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("name", name);
        file.put("num_bytes", numBytes);
        file.put("sha256", sha256);
        all.put("file", file);
        all.put("backend", "own metadata");
        for (String other : Manifest.FIELDS) {
            if (!all.containsKey(other)) {
                all.put(other, other.equals("schema_version") ? (Object) (long) Manifest.SCHEMA_VERSION : null);
            }
        }
        return all;
    }

    /** Return class names as a manifest lists them; an id of their own they have not. */
    static List<Object> classes(List<?> names) {
        List<Object> classes = new ArrayList<>();
        for (Object name : names) {
            Map<String, Object> one = new LinkedHashMap<>();
            one.put("id", name);
            one.put("name", name);
            classes.add(one);
        }
        return classes;
    }
}
