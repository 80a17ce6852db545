package engine

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"

	sinawi "github.com/sinawi/sinawi/internal/version"
)

// features are what nodes of this version declare where they support it, and pods may
// ask for.
var (
	features        = ndf.DefaultFramework
	featuresVersion = version.MustParseSemantic(sinawi.Kubernetes)
)

// featuresOf are those that a pod can only run with.
func featuresOf(spec *corev1.PodSpec) ndf.FeatureSet {
	out, err := features.InferForPodScheduling(&ndf.PodInfo{Spec: spec}, featuresVersion)
	if err != nil {
		panic("the version is there: " + err.Error())
	}
	return out
}
