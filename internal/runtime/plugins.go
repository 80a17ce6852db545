package runtime

import (
	"log/slog"
	"path/filepath"
	goruntime "runtime"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	// The parts of containerd that serve CRI, and no others: each registers itself.
	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/cri"
	_ "github.com/containerd/containerd/v2/plugins/cri/images"
	_ "github.com/containerd/containerd/v2/plugins/cri/runtime"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/native/plugin"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/streaming"
	_ "github.com/containerd/containerd/v2/plugins/transfer"

	"github.com/sinawi/sinawi/internal/runtime/helperbin"
	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/internal/runtime/nodeshim"
	"github.com/sinawi/sinawi/internal/runtime/sandbox"
)

// Handlers of RuntimeClasses. Pods that name none share the node's shims; those of
// podShim have one of their own each, and may have user namespaces.
const (
	shared  = "sinawi"
	podShim = "runc"
)

// table is a section of containerd's configuration.
type table = map[string]any

// handler is the configuration of one runtime handler. sandboxer makes its sandboxes.
func (c Config) handler(helper, sandboxer string) table {
	return table{
		"runtime_type":             helperbin.Runtime,
		"sandboxer":                sandboxer,
		"disable_pause_image_pull": sandboxer == sandbox.Name,
		"options": table{
			"BinaryName": filepath.Join(helper, helperbin.OCI),
			"Root":       c.ociRoot(),
		},
	}
}

// registerSandboxes makes our sandbox controller one of containerd's. revive is
// for when containerd serves: see nodeshim.Pool.
func (c Config) registerSandboxes(helper string, oomScore *int, log *slog.Logger) (revive func(), err error) {
	pause, err := image.PauseProgram()
	if err != nil {
		return nil, err
	}
	var pool *nodeshim.Pool
	const cri = "io.containerd.grpc.v1.cri"
	registry.Register(&plugin.Registration{
		Type: plugins.SandboxControllerPlugin,
		ID:   sandbox.Name,
		InitFn: func(ic *plugin.InitContext) (any, error) {
			shims, err := nodeshim.New(ic.Context, nodeshim.Options{
				Program:   filepath.Join(helper, helperbin.Shim),
				Dir:       filepath.Join(c.State, "shims"),
				SocketDir: c.shimDir(),
				Address:   c.Socket,
				Namespace: image.Namespace,
				Log:       log,
			})
			if err != nil {
				return nil, err
			}
			pool = shims
			return sandbox.New(ic.Context, shims, sandbox.Options{
				Dir:      filepath.Join(c.State, "pods"),
				CRIRoot:  filepath.Join(c.Root, cri),
				CRIState: filepath.Join(c.State, cri),
				Pause:    pause,
				Helper:   filepath.Join(helper, helperbin.Pause),
				OOMScore: oomScore,
				Log:      log,
			})
		},
	})
	return func() { pool.Revive() }, nil
}

// serverConfig is containerd's configuration for c. helper is the directory the
// helper binary was unpacked to, snapshotter where images are unpacked to, and
// restrictOOM whether this process may not lower OOM scores.
func (c Config) serverConfig(helper, snapshotter string, restrictOOM bool) *config.Config {
	unset := ""
	if c.DefaultSeccomp {
		unset = "runtime/default"
	}
	cri := table{
		"containerd": table{
			"default_runtime_name": shared,
			"runtimes": table{
				shared:  c.handler(helper, sandbox.Name),
				podShim: c.handler(helper, "podsandbox"),
			},
		},
		"cni": table{
			"bin_dirs":              append([]string{helper}, c.CNIBinDirs...),
			"conf_dir":              c.CNIConfDir,
			"max_conf_num":          1,
			"use_internal_loopback": true,
		},
		"restrict_oom_score_adj":       restrictOOM,
		"netns_mounts_under_state_dir": true,
		"unset_seccomp_profile":        unset,
		"disable_hugetlb_controller":   !hasHugetlb(),
		"enable_criu":                  false,
		// Usage per second is derived from two samples; the shortest question that
		// is asked of it (the metrics API's) spans 15 seconds.
		"stats_collect_period": "10s",
		"cdi_spec_dirs":        []string{"/etc/cdi", "/var/run/cdi"},
	}
	return &config.Config{
		Version:         version.ConfigVersion,
		Root:            c.Root,
		State:           c.State,
		TempDir:         filepath.Join(c.State, "tmp"),
		DisabledPlugins: []string{"io.containerd.server.v1.grpc-tcp", "io.containerd.metrics.v1.grpc-prometheus", "io.containerd.metrics.v1.grpc-otel"},
		RequiredPlugins: []string{"io.containerd.grpc.v1.cri"},
		Plugins: table{
			"io.containerd.server.v1.grpc":  table{"address": c.Socket},
			"io.containerd.server.v1.ttrpc": table{"address": c.Socket + ".ttrpc"},
			"io.containerd.shim.v1.manager": table{"socket_dir": c.shimDir()},
			"io.containerd.grpc.v1.cri": table{
				"stream_server_address": "127.0.0.1",
				"stream_server_port":    "0",
			},
			"io.containerd.cri.v1.runtime": cri,
			"io.containerd.cri.v1.images": table{
				"snapshotter":          snapshotter,
				"pinned_images":        table{"sandbox": image.PauseName},
				"registry":             table{"config_path": c.registryConfDir()},
				"stats_collect_period": 30,
			},
			"io.containerd.transfer.v1.local": table{
				"config_path": c.registryConfDir(),
				"unpack_config": []table{{
					"platform":    "linux/" + goruntime.GOARCH,
					"snapshotter": snapshotter,
					"differ":      "walking",
				}},
			},
			"io.containerd.service.v1.diff-service": table{"default": []string{"walking"}},
		},
	}
}
