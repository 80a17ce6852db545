package volumes_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
	"github.com/sinawi/sinawi/internal/volumes"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

type api struct{ settings *corev1.ConfigMap }

func (a *api) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return a.settings, nil
}
func (a *api) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return &corev1.Secret{Data: map[string][]byte{"key": []byte("secret")}}, nil
}
func (a *api) Token(_ context.Context, _, _ string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	r.Status.Token = "a token"
	return r, nil
}
func (a *api) PersistentVolume(context.Context, string, string, *corev1.Pod) (*corev1.PersistentVolume, error) {
	return nil, context.Canceled
}

// What a container sees of its volumes, through the mounts of a real one: as a
// user without rights, with an update while it runs, and nothing left after.
func TestInContainer(t *testing.T) {
	r := runtimetest.Start(t)
	source := &api{settings: &corev1.ConfigMap{Data: map[string]string{"app.conf": "one"}}}
	dir := t.TempDir()
	m := volumes.New(source, volumes.Options{Dir: dir})
	group, limit := int64(2000), resource.MustParse("1Mi")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "uid-web"}, Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{FSGroup: &group},
		Containers:      []corev1.Container{{Name: "c"}},
		Volumes: []corev1.Volume{
			{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
			{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{DefaultMode: func() *int32 { m := int32(0o400); return &m }()}}},
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
			{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}},
		},
	}}
	if _, err := m.Setup(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	var mounts []*cri.Mount
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		mounts = append(mounts, &cri.Mount{HostPath: m.Path(pod.UID, v), ContainerPath: "/v/" + v.Name, Readonly: volumes.ReadOnly(v)})
	}
	part, err := m.SubPath(pod, &pod.Spec.Volumes[3], "c", 0, "deep/part")
	if err != nil {
		t.Fatal(err)
	}
	mounts = append(mounts, &cri.Mount{HostPath: part, ContainerPath: "/part"})
	file, err := m.SubPath(pod, &pod.Spec.Volumes[0], "c", 1, "app.conf")
	if err != nil {
		t.Fatal(err)
	}
	mounts = append(mounts, &cri.Mount{HostPath: file, ContainerPath: "/etc/app.conf", Readonly: true})

	id := run(t, r, mounts)
	expect := func(script, want string) {
		t.Helper()
		answer, err := r.Runtime.ExecSync(t.Context(), &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", script}, Timeout: 20})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(answer.Stdout) + string(answer.Stderr)); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	expect("id -u", "1000")
	expect("cat /v/settings/app.conf /etc/app.conf", "oneone")
	expect("cat /v/secret/key /v/token/token", "secreta token")
	expect("(echo x > /v/settings/new) 2>/dev/null || echo refused", "refused")
	expect("echo x > /v/work/f && stat -c '%g' /v/work/f", "2000")
	expect("echo x > /part/f && cat /v/work/deep/part/f", "x")
	expect("dd if=/dev/zero of=/v/memory/big bs=1k count=2000 2>/dev/null; stat -c %s /v/memory/big", "1048576")
	source.settings = &corev1.ConfigMap{Data: map[string]string{"app.conf": "two"}}
	if _, err := m.Setup(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	expect("cat /v/settings/app.conf /etc/app.conf", "twoone") // a subPath stays as it was, as everywhere
	// The pod's directory goes even under a running container.
	if err := m.Remove(pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pods", "uid-web")); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if info, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(info), dir+"/pods") {
		t.Errorf("still mounted: %v", err)
	}
}

// run starts a container of user 1000 and the group 2000 with mounts.
func run(t *testing.T, r *runtimetest.Runtime, mounts []*cri.Mount) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	host := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	sandbox := &cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Name: "web", Uid: "uid-web", Namespace: "default"}, LogDirectory: t.TempDir(),
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: r.CgroupParent + "/web", SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: host}}}
	box, err := r.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	created, err := r.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: box.PodSandboxId, SandboxConfig: sandbox, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"}, Image: &cri.ImageSpec{Image: runtimetest.BusyBox}, Command: []string{"sleep", "1000"}, Mounts: mounts, LogPath: "c.log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: host, RunAsUser: &cri.Int64Value{Value: 1000}, SupplementalGroups: []int64{2000}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		t.Fatal(err)
	}
	return created.ContainerId
}
