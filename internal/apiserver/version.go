package apiserver

import (
	goruntime "runtime"
	"strings"

	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"

	etcd "go.etcd.io/etcd/api/v3/version"

	"github.com/sinawi/sinawi/internal/version"
)

// etcdVersion is that of the embedded member.
var etcdVersion = etcd.Version

// effectiveVersion is upstream's, with the version that this server reports.
type effectiveVersion struct{ compatibility.EffectiveVersion }

func newVersion() compatibility.EffectiveVersion {
	release, _, _ := strings.Cut(version.Kubernetes, "+")
	return effectiveVersion{compatibility.NewEffectiveVersionFromString(release, "", "")}
}

func (v effectiveVersion) Info() *apimachineryversion.Info {
	info := v.EffectiveVersion.Info()
	info.Major, info.Minor = version.KubernetesMajor, version.KubernetesMinor
	info.GitVersion = version.Kubernetes
	info.GitCommit = version.Build()
	info.GitTreeState = "clean"
	info.BuildDate = "1970-01-01T00:00:00Z"
	info.GoVersion = goruntime.Version()
	info.Compiler = goruntime.Compiler
	info.Platform = goruntime.GOOS + "/" + goruntime.GOARCH
	return info
}
