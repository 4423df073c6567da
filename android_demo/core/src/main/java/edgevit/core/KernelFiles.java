package edgevit.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the kernel tells about this process and its cores. Phones hide some of it: what cannot be read is left out. */
public final class KernelFiles {
    private static final String CPUS = "sys/devices/system/cpu";

    private final File root;

    /** @param root "/", or a folder that stands for it in tests */
    public KernelFiles(File root) {
        this.root = root;
    }

    /** Return the most memory that this process ever had resident (VmHWM), in KiB; null where the kernel does not say. */
    public Double peakKb() {
        for (String line : read("proc/self/status").split("\n")) {
            if (line.startsWith("VmHWM:")) {
                return Double.valueOf(line.replaceAll("[^0-9]", ""));
            }
        }
        return null;
    }

    /** Return the clusters of cores, slowest first, in the form of edge_vit/devices/device_info.py. */
    public List<Map<String, Object>> clusters() {
        List<Map<String, Object>> found = new ArrayList<>();
        for (File policy : policies()) {
            List<Object> cores = new ArrayList<>();
            long capacity = 0;
            for (String core : read(policy, "related_cpus").trim().split("\\s+")) {
                if (core.matches("\\d+")) {
                    cores.add(Long.valueOf(core));
                    capacity = Math.max(capacity, number(read(CPUS + "/cpu" + core + "/cpu_capacity")));
                }
            }
            if (cores.isEmpty()) {
                continue;
            }
            Map<String, Object> one = new LinkedHashMap<>();
            String governor = read(policy, "scaling_governor").trim();
            one.put("cores", cores);
            one.put("capacity", capacity);
            one.put("max_khz", number(read(policy, "cpuinfo_max_freq")));
            one.put("governor", governor.isEmpty() ? "unknown" : governor);
            int place = found.size();
            while (place > 0 && speed(found.get(place - 1)) > speed(one)) {
                place--;
            }
            found.add(place, one);
        }
        return found;
    }

    /** Return the clocks of now by policy, in kHz. */
    public Map<String, Object> clocksKhz() {
        Map<String, Object> found = new LinkedHashMap<>();
        for (File policy : policies()) {
            long khz = number(read(policy, "scaling_cur_freq"));
            if (khz > 0) {
                found.put(policy.getName().substring("policy".length()), khz);
            }
        }
        return found;
    }

    private static long speed(Map<String, Object> cluster) {
        return ((Long) cluster.get("capacity")) * 100_000_000L + (Long) cluster.get("max_khz");
    }

    private File[] policies() {
        File[] found = new File(root, CPUS + "/cpufreq").listFiles((folder, name) -> name.matches("policy\\d+"));
        if (found == null) {
            return new File[0];
        }
        Arrays.sort(found);
        return found;
    }

    private static long number(String text) {
        String digits = text.trim();
        return digits.matches("\\d{1,18}") ? Long.parseLong(digits) : 0;
    }

    private static String read(File folder, String name) {
        return readFile(new File(folder, name));
    }

    private String read(String name) {
        return readFile(new File(root, name));
    }

    private static String readFile(File file) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        byte[] block = new byte[4096];
        try (InputStream in = new FileInputStream(file)) {
            for (int got = in.read(block); got >= 0; got = in.read(block)) {
                all.write(block, 0, got);
            }
        } catch (IOException e) {
            return ""; // Hidden from apps on this phone, or not there.
        }
        return all.toString();
    }
}
