package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"
)

// oldestKernel is the first with all that the network needs of nftables: maps
// with concatenated keys in every table family (5.6).
var oldestKernel = [2]int{5, 6}

func kernel(context.Context, Options) Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fail(err.Error(), "read the kernel's version with uname -r", "uname -r로 커널 버전을 확인하세요")
	}
	return judgeKernel(unix.ByteSliceToString(u.Release[:]))
}

func judgeKernel(release string) Finding {
	major, minor, ok2 := parseRelease(release)
	if !ok2 {
		return warn(release, "the version could not be read; Linux 5.6 or newer is needed", "버전을 읽을 수 없습니다. 리눅스 5.6 이상이 필요합니다")
	}
	if major < oldestKernel[0] || (major == oldestKernel[0] && minor < oldestKernel[1]) {
		return fail(release, "install Linux 5.6 or newer", "리눅스 5.6 이상을 설치하세요")
	}
	return ok(release)
}

func parseRelease(release string) (major, minor int, ok bool) {
	first, rest, found := strings.Cut(release, ".")
	if !found {
		return 0, 0, false
	}
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest)
	return major, minor, err1 == nil && err2 == nil
}

// needed are the capabilities without which no container starts.
var needed = map[string]uint{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT}

func privileges(context.Context, Options) Finding {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fail(err.Error(), "mount /proc", "/proc을 마운트하세요")
	}
	effective, err := strconv.ParseUint(statusField(string(data), "CapEff"), 16, 64)
	if err != nil {
		return fail("capabilities unreadable", "run as root", "root로 실행하세요")
	}
	var missing []string
	for name, bit := range needed {
		if effective&(1<<bit) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fail("missing "+strings.Join(missing, ", "), "run as root: sudo sinawi up", "root로 실행하세요: sudo sinawi up")
	}
	return ok("uid " + strconv.Itoa(os.Geteuid()))
}

func statusField(status, name string) string {
	for _, line := range strings.Split(status, "\n") {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func cgroups(context.Context, Options) Finding {
	if data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return judgeControllers("v2", strings.Fields(string(data)))
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fail(err.Error(), "mount /proc", "/proc을 마운트하세요")
	}
	return judgeControllers("v1", v1Controllers(string(data)))
}

// v1Controllers returns the controllers of mounted version 1 hierarchies.
func v1Controllers(mountinfo string) []string {
	var out []string
	for _, line := range strings.Split(mountinfo, "\n") {
		_, after, found := strings.Cut(line, " - cgroup ")
		if !found {
			continue
		}
		fields := strings.Fields(after)
		if len(fields) == 2 {
			out = append(out, strings.Split(fields[1], ",")...)
		}
	}
	return out
}

func judgeControllers(version string, controllers []string) Finding {
	var missing []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(controllers, c) {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		return fail(version+", missing "+strings.Join(missing, ", "),
			"boot with systemd.unified_cgroup_hierarchy=1, or mount the missing controllers below /sys/fs/cgroup",
			"systemd.unified_cgroup_hierarchy=1로 부팅하거나 빠진 컨트롤러를 /sys/fs/cgroup 아래에 마운트하세요")
	}
	return ok(version + ": cpu, memory, pids")
}

func overlay(context.Context, Options) Finding {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fail(err.Error(), "mount /proc", "/proc을 마운트하세요")
	}
	if !slices.Contains(strings.Fields(string(data)), "overlay") {
		return fail("not available", "load it: modprobe overlay", "불러오세요: modprobe overlay")
	}
	return ok("available")
}

func seccomp(context.Context, Options) Finding {
	data, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return warn("not available", "containers run without system call filters; use a kernel with CONFIG_SECCOMP_FILTER", "시스템 호출 필터 없이 컨테이너가 실행됩니다. CONFIG_SECCOMP_FILTER가 켜진 커널을 쓰세요")
	}
	return ok(strings.TrimSpace(string(data)))
}

// fewestInotify is what a node with a hundred pods needs: kubelet's plug-ins
// and the programs in pods watch files too.
const fewestInotify = 512

func inotify(context.Context, Options) Finding {
	const file = "/proc/sys/fs/inotify/max_user_instances"
	data, err := os.ReadFile(file)
	if err != nil {
		return warn(err.Error(), "use a kernel with CONFIG_INOTIFY_USER", "CONFIG_INOTIFY_USER가 켜진 커널을 쓰세요")
	}
	value := strings.TrimSpace(string(data))
	if n, err := strconv.Atoi(value); err == nil && n < fewestInotify {
		return warn("max_user_instances "+value, fmt.Sprintf("sysctl -w fs.inotify.max_user_instances=%d", fewestInotify), fmt.Sprintf("sysctl -w fs.inotify.max_user_instances=%d", fewestInotify))
	}
	return ok("max_user_instances " + value)
}

const (
	gib            = 1 << 30
	diskFails      = 1 * gib
	diskWarns      = 5 * gib
	memoryWarns    = 1 * gib
	clockSaneSince = 2025
)

func disk(_ context.Context, o Options) Finding {
	dir := o.DataDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir) // not made yet: ask the disk it will lie on
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fail(err.Error(), "choose another --data-dir", "다른 --data-dir을 고르세요")
	}
	return judgeDisk(dir, fs.Bavail*uint64(fs.Bsize))
}

func judgeDisk(dir string, free uint64) Finding {
	found := fmt.Sprintf("%.1f GiB free at %s", float64(free)/gib, dir)
	switch {
	case free < diskFails:
		return fail(found, "free at least 1 GiB, or choose another --data-dir", "1 GiB 이상 비우거나 다른 --data-dir을 고르세요")
	case free < diskWarns:
		return warn(found, "images and logs want 5 GiB or more", "이미지와 로그에 5 GiB 이상이 좋습니다")
	}
	return ok(found)
}

func memory(context.Context, Options) Finding {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return warn(err.Error(), "check with free -h", "free -h로 확인하세요")
	}
	total := uint64(info.Totalram) * uint64(info.Unit)
	found := fmt.Sprintf("%.1f GiB", float64(total)/gib)
	if total < memoryWarns {
		return warn(found, "1 GiB or more is advised for a server", "서버에는 1 GiB 이상을 권합니다")
	}
	return ok(found)
}

func clock(context.Context, Options) Finding {
	now := time.Now()
	found := now.UTC().Format(time.RFC3339)
	if now.Year() < clockSaneSince {
		return fail(found, "set the clock: certificates made now would be refused elsewhere", "시계를 맞추세요. 지금 만든 인증서는 다른 곳에서 거부됩니다")
	}
	var timex unix.Timex
	state, err := unix.Adjtimex(&timex)
	if err == nil && state == unix.TIME_ERROR {
		return warn(found+", not synchronised", "enable time synchronisation (timedatectl set-ntp true) before other nodes join", "다른 노드가 들어오기 전에 시간 동기화를 켜세요 (timedatectl set-ntp true)")
	}
	return ok(found)
}

func hostName(context.Context, Options) Finding {
	name, err := os.Hostname()
	if err != nil {
		return fail(err.Error(), "set a host name", "호스트 이름을 정하세요")
	}
	if problems := validation.IsDNS1123Subdomain(strings.ToLower(name)); len(problems) > 0 {
		return fail(name, "give the node a valid name with --node-name", "--node-name으로 올바른 노드 이름을 정하세요")
	}
	return ok(name)
}

func resolver(context.Context, Options) Finding {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return warn(err.Error(), "pods will resolve cluster names only", "파드는 클러스터 안의 이름만 풀 수 있습니다")
	}
	var servers []string
	for _, line := range strings.Split(string(data), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	if len(servers) == 0 {
		return warn("no nameserver in /etc/resolv.conf", "pods will resolve cluster names only; add a nameserver", "파드는 클러스터 안의 이름만 풀 수 있습니다. nameserver를 추가하세요")
	}
	return ok(strings.Join(servers, ", "))
}
