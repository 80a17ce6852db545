package volumes

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	tests := []struct {
		path string
		kind corev1.HostPathType
		err  string
	}{
		{dir, corev1.HostPathUnset, ""},
		{filepath.Join(dir, "none"), corev1.HostPathUnset, ""},
		{dir, corev1.HostPathDirectory, ""},
		{file, corev1.HostPathDirectory, "is not a directory"},
		{filepath.Join(dir, "none"), corev1.HostPathDirectory, "is not a directory"},
		{filepath.Join(dir, "new/dir"), corev1.HostPathDirectoryOrCreate, ""},
		{file, corev1.HostPathDirectoryOrCreate, "is not a directory"},
		{file, corev1.HostPathFile, ""},
		{dir, corev1.HostPathFile, "is not a file"},
		{filepath.Join(dir, "newfile"), corev1.HostPathFileOrCreate, ""},
		{filepath.Join(dir, "no/dir/newfile"), corev1.HostPathFileOrCreate, "no such file"},
		{dir, corev1.HostPathFileOrCreate, "is not a file"},
		{socket, corev1.HostPathSocket, ""},
		{file, corev1.HostPathSocket, "is not a socket file"},
		{"/dev/null", corev1.HostPathCharDev, ""},
		{file, corev1.HostPathCharDev, "is not a character device"},
		{"/dev/null", corev1.HostPathBlockDev, "is not a block device"},
		{dir, "Wrong", `type "Wrong" is unknown`},
	}
	for _, test := range tests {
		err := hostPath(&corev1.HostPathVolumeSource{Path: test.path, Type: &test.kind})
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s %s: got %v, want %q", test.kind, test.path, err, test.err)
		}
	}
}

func TestSubPath(t *testing.T) {
	f := setup(t)
	v := f.volume("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	f.mustSetup()
	dir := f.m.Path(f.pod.UID, v)
	outside := t.TempDir()
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "sub/file"), []byte("in"), 0o644),
		os.WriteFile(filepath.Join(outside, "file"), []byte("out"), 0o644),
		os.Symlink("sub", filepath.Join(dir, "inside")),
		os.Symlink(outside, filepath.Join(dir, "outside")),
		os.Symlink("../../../../..", filepath.Join(dir, "up")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ sub, want, err string }{
		{sub: "sub", want: "sub"},
		{sub: "sub/file", want: "sub/file"},
		{sub: "inside/file", want: "sub/file"},
		{sub: "pipe", want: "pipe"},
		{sub: "new/dir", want: "new/dir"},
		{sub: "outside", err: "leads out of the volume"},
		{sub: "outside/file", err: "leads out of the volume"},
		{sub: "outside/none", err: "volume"},
		{sub: "up/etc", err: "leads out of the volume"},
		{sub: "/etc", err: "must be relative"},
		{sub: "sub/../../x", err: "must not contain '..'"},
	}
	for i, test := range tests {
		t.Run(test.sub, func(t *testing.T) {
			path, err := f.m.SubPath(f.pod, v, "c", i, test.sub)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !same(t, path, filepath.Join(dir, test.want)) {
				t.Errorf("%s does not show %s", path, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(outside, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a directory was made outside the volume")
	}
	// Links that are changed later change nothing, and a new start replaces the mount.
	path, err := f.m.SubPath(f.pod, v, "c", 0, "sub")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "old")), os.Symlink(outside, filepath.Join(dir, "sub"))); err != nil {
		t.Fatal(err)
	}
	if !same(t, path, filepath.Join(dir, "old")) {
		t.Error("the mount followed a link made after it")
	}
	if _, err := f.m.SubPath(f.pod, v, "c", 0, "sub"); err == nil {
		t.Error("the link made later was followed")
	}
	if path, err = f.m.SubPath(f.pod, v, "c", 0, "old/file"); err != nil || !same(t, path, filepath.Join(dir, "old/file")) {
		t.Errorf("a file in the place of a directory: %v", err)
	}
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

// Removing a pod must not remove what its mounts showed of the host, even when
// the data directory is reached through a link.
func TestRemoveSparesTheHost(t *testing.T) {
	f := setup(t)
	host := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(host, "sub"), 0o755), os.WriteFile(filepath.Join(host, "sub/precious"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(f.m.options.Dir, link); err != nil {
		t.Fatal(err)
	}
	options := f.m.options
	options.Dir = link
	m := New(f.source, options)
	v := f.volume("v", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}})
	if _, err := m.Setup(t.Context(), f.pod); err != nil {
		t.Fatal(err)
	}
	path, err := m.SubPath(f.pod, v, "c", 0, "sub")
	if err != nil {
		t.Fatal(err)
	}
	// One more on top, as two agents at once could leave.
	if err := unix.Mount(host, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(f.pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(host, "sub/precious")); err != nil {
		t.Error(err)
	}
	if err := m.Remove(f.pod.UID); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

func TestClaim(t *testing.T) {
	f := setup(t)
	disk := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(disk, "d"), 0o700), os.WriteFile(filepath.Join(disk, "d/file"), nil, 0o600), os.Symlink("/etc/hostname", filepath.Join(disk, "link"))); err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Stat("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	f.PV("data", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: disk}})
	f.PV("web-scratch", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: disk}})
	f.PV("remote", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d"}})
	f.PV("gone", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: disk + "/none"}})
	f.pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(2000))}
	f.volume("v", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data", ReadOnly: true}})
	f.volume("scratch", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}})
	f.mustSetup()
	for i := range f.pod.Spec.Volumes {
		if got := f.m.Path(f.pod.UID, &f.pod.Spec.Volumes[i]); got != disk {
			t.Errorf("%s lies at %q", f.pod.Spec.Volumes[i].Name, got)
		}
	}
	if !ReadOnly(&f.pod.Spec.Volumes[0]) || ReadOnly(&f.pod.Spec.Volumes[1]) {
		t.Error("which claims are read-only")
	}
	modes := map[string]fs.FileMode{}
	for _, name := range []string{".", "d", "d/file"} {
		info, err := os.Stat(filepath.Join(disk, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Gid != 2000 {
			t.Errorf("%s does not belong to the group: %v", name, err)
		}
		modes[name] = info.Mode()
	}
	want := map[string]fs.FileMode{".": fs.ModeDir | fs.ModeSetgid | 0o775, "d": fs.ModeDir | fs.ModeSetgid | 0o770, "d/file": 0o660}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Error(diff)
	}
	if now, err := os.Stat("/etc/hostname"); err != nil || now.Mode() != hostname.Mode() || now.Sys().(*syscall.Stat_t).Gid != hostname.Sys().(*syscall.Stat_t).Gid {
		t.Error("a link was followed out of the volume")
	}
	errs := map[string]string{
		"remote": `persistentvolume pv-remote: volumes of kind csi are not supported`,
		"gone":   `does not exist on this node`,
		"none":   `persistentvolumeclaims "none" not found`,
	}
	for claim, want := range errs {
		pod := f.pod.DeepCopy()
		pod.Spec.Volumes = []corev1.Volume{{Name: claim, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
		if _, err := f.m.Setup(t.Context(), pod); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", claim, err, want)
		}
	}
	if _, err := f.m.Device(f.pod, "v"); err == nil {
		t.Error("a directory passes for a block device")
	}
}

// PV binds a persistent volume to a claim.
func (f *fixture) PV(claim string, source corev1.PersistentVolumeSource) {
	f.volumes[claim] = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
}
