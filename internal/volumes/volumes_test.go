package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// source is an API in memory.
type source struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	volumes    map[string]*corev1.PersistentVolume
	tokens     int
	tokenErr   error
	now        func() time.Time
}

func (s *source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if object, ok := s.configMaps[name]; ok {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (s *source) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if object, ok := s.secrets[name]; ok {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func (s *source) Token(_ context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if s.tokenErr != nil {
		return nil, s.tokenErr
	}
	s.tokens++
	answer := request.DeepCopy()
	answer.Status.Token = fmt.Sprintf("token %d of %s/%s for %v", s.tokens, namespace, account, request.Spec.Audiences)
	answer.Status.ExpirationTimestamp = metav1.NewTime(s.now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return answer, nil
}

func (s *source) PersistentVolume(_ context.Context, _, claim string, owner *corev1.Pod) (*corev1.PersistentVolume, error) {
	if (owner != nil) != (claim == "web-scratch") {
		return nil, errors.New("the wrong owner")
	}
	if object, ok := s.volumes[claim]; ok {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolumeclaims"}, claim)
}

type fixture struct {
	*testing.T
	*source
	m   *Manager
	pod *corev1.Pod
	now time.Time
}

// setup returns a Manager in a directory of its own; what the test leaves
// mounted there fails it.
func setup(t *testing.T) *fixture {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	f := &fixture{T: t, now: time.Unix(1_000_000, 0)}
	f.source = &source{configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}, volumes: map[string]*corev1.PersistentVolume{},
		now: func() time.Time { return f.now }}
	dir := t.TempDir()
	f.m = New(f.source, Options{Dir: dir, Now: func() time.Time { return f.now },
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{"memory": resource.MustParse("1Gi"), "cpu": resource.MustParse("2")}
		}})
	f.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: types.UID("uid-1"), Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{ServiceAccountName: "robot", Containers: []corev1.Container{{Name: "c"}}}}
	t.Cleanup(func() {
		if err := f.m.Remove(f.pod.UID); err != nil {
			t.Error(err)
		}
		if points, err := mountsUnder(dir); err != nil || len(points) > 0 {
			t.Errorf("still mounted after Remove: %v %v", points, err)
		}
		if pods, err := f.m.Pods(); err != nil || len(pods) > 0 {
			t.Errorf("still there after Remove: %v %v", pods, err)
		}
	})
	return f
}

func (f *fixture) volume(name string, source corev1.VolumeSource) *corev1.Volume {
	f.pod.Spec.Volumes = append(f.pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	return &f.pod.Spec.Volumes[len(f.pod.Spec.Volumes)-1]
}

func (f *fixture) mustSetup() time.Time {
	f.Helper()
	again, err := f.m.Setup(f.Context(), f.pod)
	if err != nil {
		f.Fatal(err)
	}
	return again
}

// tree is what a container sees of a directory: path → mode and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	var walk func(rel string)
	walk = func(rel string) {
		entries, err := os.ReadDir(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if rel == "" && strings.HasPrefix(entry.Name(), "..") {
				continue
			}
			path := filepath.Join(rel, entry.Name())
			info, err := os.Stat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			data, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			seen[path] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
		}
	}
	walk("")
	return seen
}

func yesPtr() *bool     { b := true; return &b }
func ptr[T any](v T) *T { return &v }
func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{Data: data}
}

func TestContent(t *testing.T) {
	tests := map[string]struct {
		source corev1.VolumeSource
		group  *int64
		want   map[string]string
		err    string
	}{
		"config map": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
			want:   map[string]string{"a.conf": "644 alpha", "b.conf": "644 beta", "raw": "644 \x00\xff"},
		},
		"items, default mode and a mode of its own": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, DefaultMode: ptr(int32(0o400)),
				Items: []corev1.KeyToPath{{Key: "a.conf", Path: "etc/app/a"}, {Key: "b.conf", Path: "b", Mode: ptr(int32(0o755))}}}},
			want: map[string]string{"etc/app/a": "400 alpha", "b": "755 beta"},
		},
		"group may read": {
			source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key", DefaultMode: ptr(int32(0o400))}},
			group:  ptr(int64(2000)),
			want:   map[string]string{"tls.key": "440 secret"},
		},
		"missing config map": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}},
			err:    `MountVolume.SetUp failed for volume "v" : configmap "none" not found`,
		},
		"missing key": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: []corev1.KeyToPath{{Key: "zzz", Path: "z"}}}},
			err:    `MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: zzz`,
		},
		"missing secret key": {
			source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key", Items: []corev1.KeyToPath{{Key: "zzz", Path: "z"}}}},
			err:    `MountVolume.SetUp failed for volume "v" : references non-existent secret key: zzz`,
		},
		"optional": {
			source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none", Optional: yesPtr()}},
			want:   map[string]string{},
		},
		"optional key": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Optional: yesPtr(), Items: []corev1.KeyToPath{{Key: "zzz", Path: "z"}, {Key: "a.conf", Path: "a"}}}},
			want:   map[string]string{"a": "644 alpha"},
		},
		"downward": {
			source: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu"}},
			}}},
			want: map[string]string{"labels": `644 app="web"`, "cpu": "644 2"},
		},
		"projected": {
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: []corev1.KeyToPath{{Key: "a.conf", Path: "ca.crt"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
				{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "bundle", Optional: yesPtr()}},
			}}},
			want: map[string]string{"token": "644 token 1 of default/robot for [vault]", "ca.crt": "644 alpha", "namespace": "644 default"},
		},
		"projection of a kind unknown here": {
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "bundle"}}}}},
			err:    `MountVolume.SetUp failed for volume "v" : source 0 of the projection, a clusterTrustBundle, is not supported on this node yet; leave it out`,
		},
		"nfs": {
			source: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}},
			err:    `MountVolume.SetUp failed for volume "v" : volumes of kind nfs are not supported on this node yet; use configMap, secret, downwardAPI, projected, emptyDir, hostPath, or a claim of a local or hostPath volume`,
		},
		"path out of the volume": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Items: []corev1.KeyToPath{{Key: "a.conf", Path: "a/../../b"}}}},
			err:    `MountVolume.SetUp failed for volume "v" : invalid path "a/../../b": must not contain '..' or start with it`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.configMaps["settings"] = &corev1.ConfigMap{Data: map[string]string{"a.conf": "alpha", "b.conf": "beta"}, BinaryData: map[string][]byte{"raw": {0, 255}}}
			f.secrets["key"] = &corev1.Secret{Data: map[string][]byte{"tls.key": []byte("secret")}}
			v := f.volume("v", test.source)
			if test.group != nil {
				f.pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: test.group}
			}
			_, err := f.m.Setup(t.Context(), f.pod)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Fatalf("got error %v, want %s", err, test.err)
				}
				if one := new(Error); !errors.As(err, &one) || one.Volume != "v" {
					t.Errorf("the error does not name the volume: %#v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			dir := f.m.Path(f.pod.UID, v)
			if diff := cmp.Diff(test.want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
			if test.group != nil {
				for name := range test.want {
					if info, err := os.Stat(filepath.Join(dir, name)); err != nil || int64(info.Sys().(*syscall.Stat_t).Gid) != *test.group {
						t.Errorf("%s does not belong to the group: %v %v", name, info, err)
					}
				}
			}
		})
	}
}

// An update replaces the whole set at once, and a container keeps seeing it
// through the directory that it has mounted.
func TestUpdate(t *testing.T) {
	f := setup(t)
	f.configMaps["settings"] = configMap(map[string]string{"a": "1", "b": "1"})
	v := f.volume("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}})
	f.mustSetup()
	dir := f.m.Path(f.pod.UID, v)
	before, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	f.mustSetup()
	if after, _ := os.Readlink(filepath.Join(dir, "..data")); after != before {
		t.Error("the set was written again without a change")
	}
	f.configMaps["settings"] = configMap(map[string]string{"b": "2", "c": "2"})
	f.mustSetup()
	if diff := cmp.Diff(map[string]string{"b": "644 2", "c": "644 2"}, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
	// A new Manager, as after a restart, goes on with what is there.
	m := New(f.source, f.m.options)
	if _, err := m.Setup(t.Context(), f.pod); err != nil {
		t.Fatal(err)
	}
	if points, _ := mountsUnder(m.PodDir(f.pod.UID)); len(points) != 1 {
		t.Errorf("mounts after a restart: %v", points)
	}
}

func TestToken(t *testing.T) {
	f := setup(t)
	v := f.volume("v", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr(int64(1000))}}}}})
	f.pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr(int64(1000))}
	began := f.now
	want := func(token string, renew time.Duration) {
		t.Helper()
		if again := f.mustSetup(); !again.Equal(began.Add(renew)) {
			t.Errorf("renew at %v, want %v", again.Sub(began), renew)
		}
		if diff := cmp.Diff(map[string]string{"token": "600 " + token}, tree(t, f.m.Path(f.pod.UID, v))); diff != "" {
			t.Error(diff)
		}
	}
	want("token 1 of default/robot for []", 800*time.Second)
	f.now = began.Add(799 * time.Second)
	want("token 1 of default/robot for []", 800*time.Second)
	f.now = began.Add(800 * time.Second)
	f.tokenErr = errors.New("no server")
	want("token 1 of default/robot for []", 830*time.Second) // it is still good
	f.tokenErr = nil
	f.now = began.Add(830 * time.Second)
	want("token 2 of default/robot for []", 1630*time.Second)
	if info, err := os.Stat(filepath.Join(f.m.Path(f.pod.UID, v), "token")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 1000 {
		t.Errorf("the token does not belong to the pod's user: %v", err)
	}
	f.tokenErr = errors.New("no server")
	f.now = began.Add(9000 * time.Second)
	if _, err := f.m.Setup(t.Context(), f.pod); err == nil || !strings.Contains(err.Error(), "failed to fetch token: no server") {
		t.Errorf("an expired token that cannot be renewed: %v", err)
	}
}

func TestEmptyDir(t *testing.T) {
	f := setup(t)
	f.pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(2000))}
	disk := f.volume("disk", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}).DeepCopy()
	memory := f.volume("memory", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("1Mi"))}}).DeepCopy()
	f.mustSetup()
	for _, v := range []*corev1.Volume{disk, memory} {
		info, err := os.Stat(f.m.Path(f.pod.UID, v))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.ModeDir|fs.ModeSetgid|0o777 || info.Sys().(*syscall.Stat_t).Gid != 2000 {
			t.Errorf("%s: %v, group %d", v.Name, info.Mode(), info.Sys().(*syscall.Stat_t).Gid)
		}
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(f.m.Path(f.pod.UID, memory), &stat); err != nil || int64(stat.Blocks)*stat.Bsize != 1<<20 {
		t.Errorf("the size of the memory: %d blocks, %v", stat.Blocks, err)
	}
	// What the pod makes of its directories stays.
	for _, v := range []*corev1.Volume{disk, memory} {
		dir := f.m.Path(f.pod.UID, v)
		if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "kept"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	f.mustSetup()
	for _, v := range []*corev1.Volume{disk, memory} {
		dir := f.m.Path(f.pod.UID, v)
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: the mode was changed back: %v %v", v.Name, info.Mode(), err)
		}
		if diff := cmp.Diff(map[string]string{"kept": "600 x"}, tree(t, dir)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	container := func(memory string) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse(memory)}}}
	}
	m := New(nil, Options{Allocatable: func() corev1.ResourceList { return corev1.ResourceList{"memory": resource.MustParse("1000")} }})
	tests := map[string]struct {
		spec corev1.PodSpec
		size string
		want int64
	}{
		"the node's":              {spec: corev1.PodSpec{Containers: []corev1.Container{{}}}, want: 1000},
		"the volume's":            {spec: corev1.PodSpec{Containers: []corev1.Container{{}}}, size: "7", want: 7},
		"the containers'":         {spec: corev1.PodSpec{Containers: []corev1.Container{container("10"), container("20")}}, want: 30},
		"one container unlimited": {spec: corev1.PodSpec{Containers: []corev1.Container{container("10"), {}}}, want: 1000},
		"the pod's":               {spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("5")}}}, size: "7", want: 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := &corev1.EmptyDirVolumeSource{}
			if test.size != "" {
				source.SizeLimit = ptr(resource.MustParse(test.size))
			}
			if got := m.memoryLimit(&corev1.Pod{Spec: test.spec}, source); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
