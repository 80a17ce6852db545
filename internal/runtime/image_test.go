package runtime_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
	"github.com/sinawi/sinawi/lab/images"
)

func TestPull(t *testing.T) {
	r := runtimetest.Start(t)
	free := images.Registry(t, nil)
	login := images.Login{User: "user", Password: "secret"}
	closed := images.Registry(t, &login)
	spec := images.BusyBox(t)
	spec.Files = append(spec.Files, image.File{Path: "greeting", Data: []byte("from the registry\n")})
	spec.Cmd, spec.Ports, spec.User = []string{"cat", "/greeting"}, []string{"80/tcp"}, "1000"
	open := free.Push(t, spec, "team/app:1")
	private := closed.Push(t, spec, "app:2")
	for name, tt := range map[string]struct {
		image string
		auth  *cri.AuthConfig
		want  codes.Code
		says  string
	}{
		"open":           {image: open},
		"with login":     {image: private, auth: &cri.AuthConfig{Username: login.User, Password: login.Password}},
		"wrong login":    {image: strings.Replace(private, "app:2", "app2:2", 1), auth: &cri.AuthConfig{Username: "user", Password: "wrong"}, want: codes.Unknown, says: "401"},
		"without login":  {image: strings.Replace(private, "app:2", "app3:2", 1), want: codes.Unknown, says: "authorization failed"},
		"no such tag":    {image: free.Host + "/team/app:none", want: codes.NotFound, says: "not found"},
		"no such server": {image: "127.0.0.1:1/app:1", want: codes.Unknown, says: "connection refused"},
		"not a name":     {image: "UPPER/Case:!", want: codes.Unknown, says: "invalid reference format"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := r.Images.PullImage(contextFor(t), &cri.PullImageRequest{Image: &cri.ImageSpec{Image: tt.image}, Auth: tt.auth})
			if grpcstatus.Code(err) != tt.want || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v: %v", grpcstatus.Code(err), err)
			}
			if err != nil {
				return
			}
			s, err := r.Images.ImageStatus(contextFor(t), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: tt.image}})
			if err != nil {
				t.Fatal(err)
			}
			if s.Image.GetId() != resp.ImageRef && !slices.Contains(s.Image.GetRepoDigests(), resp.ImageRef) || s.Image.Uid.GetValue() != 1000 {
				t.Errorf("pulled %s, and the status is %v", resp.ImageRef, s.Image)
			}
		})
	}
	p := runPod(t, r, "pulled", nil)
	if got := p.output("greets", "", func(c *cri.ContainerConfig) { c.Image.Image, c.Command = open, nil }); got != "from the registry\n" {
		t.Errorf("the image's own command printed %q", got)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "wrong", nil)
	config := containerConfig(p.config, "missing", "true")
	config.Image.Image = "sinawi.local/none:1"
	_, err := r.Runtime.CreateContainer(contextFor(t), &cri.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if grpcstatus.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "sinawi.local/none:1") {
		t.Errorf("an image that is not there: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*cri.ContainerConfig)
		says   string
	}{
		"command":   {func(c *cri.ContainerConfig) { c.Command = []string{"/no/such/program"} }, `exec: "/no/such/program": stat /no/such/program: no such file or directory`},
		"path":      {func(c *cri.ContainerConfig) { c.Command = []string{"nosuch"} }, `exec: "nosuch": executable file not found in $PATH`},
		"directory": {func(c *cri.ContainerConfig) { c.WorkingDir = "/bin/sh" }, "not a directory"},
	} {
		id := p.create(name, "true", tt.change)
		_, err := r.Runtime.StartContainer(contextFor(t), &cri.StartContainerRequest{ContainerId: id})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImportListRemove(t *testing.T) {
	r := runtimetest.Start(t)
	ctx := contextFor(t)
	archive, err := image.Build(image.Spec{Name: "app:1", Files: []image.File{{Path: "a", Data: []byte("a")}}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := image.Import(ctx, r.Socket, archive)
	if want := []string{"docker.io/library/app:1"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("imported %v, %v", names, err)
	}
	if s, err := r.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: "app:1"}}); err != nil || s.Image == nil {
		t.Errorf("CRI does not see the imported image: %v, %v", s, err)
	} else if !s.Image.Pinned {
		t.Error("what was brought by hand may be collected")
	}
	if got := listed(t, ctx, r); !slices.Contains(got, "docker.io/library/app:1") || !slices.Contains(got, image.PauseName) {
		t.Errorf("the images are %v", got)
	} else if slices.ContainsFunc(got, func(name string) bool { return strings.HasPrefix(name, "sha256:") }) {
		t.Errorf("listed under their ids too: %v", got)
	}
	if err := image.Remove(ctx, r.Socket, "app:1"); err != nil {
		t.Error(err)
	}
	if got := listed(t, ctx, r); slices.Contains(got, "docker.io/library/app:1") {
		t.Errorf("after the removal the images are %v", got)
	}
	for name, says := range map[string]string{"app:1": "no such image", image.PauseName: "pods need it", "::": "invalid reference"} {
		if err := image.Remove(ctx, r.Socket, name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if _, err := image.Import(ctx, r.Socket, strings.NewReader("not an archive")); err == nil {
		t.Error("what is not an archive was imported")
	}
	if _, err := image.Import(ctx, r.Socket, io.LimitReader(archive, 100)); err == nil {
		t.Error("a cut archive was imported")
	}
}

func listed(t testing.TB, ctx context.Context, r *runtimetest.Runtime) []string {
	t.Helper()
	all, err := image.List(ctx, r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range all {
		out = append(out, i.Name)
	}
	return out
}
