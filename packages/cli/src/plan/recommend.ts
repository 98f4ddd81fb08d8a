import { CHANNEL_CAPACITY_BYTES, ConfigError, hostCores, hostMemory } from '@skein/agent';
import { engineConfig } from '@skein/engine';
import {
  CHECKPOINT_SHAPES,
  cpuMemory,
  type GivenDegrees,
  gpuMemory,
  type PlannedCheckpoint,
  type PlannedDevices,
  type PlannedLoad,
  readPlannedCheckpoint,
  type Recommendation,
  recommendFormation,
  resolveKVCacheDtype,
} from '@skein/models';
import { type Device, loadNative, type NativeAddon } from '@skein/native';
import type { FlagKey } from '../flags/flag-table.ts';
import type { Resolved } from '../flags/resolve.ts';
import { modelFolder } from '../model-folder.ts';

/** An H100's memory, bytes a second. */
const GPU_BANDWIDTH = 3350e9;
const MEASURE_SECONDS = 0.5;
const MEASURE_BYTES = 256 * 2 ** 20;

/** @throws ConfigError, and what `recommendFormation` throws. */
export async function recommend(resolved: Resolved): Promise<Recommendation> {
  const { settings } = resolved;
  if (settings.model === null)
    throw new ConfigError('ERR_OPTION', 'no model is named; run skein plan MODEL, or give --model');
  const isShape = Object.hasOwn(CHECKPOINT_SHAPES, settings.model);
  const path = isShape ? settings.model : modelFolder(settings.model, settings.revision).dir;
  const checkpoint = await readPlannedCheckpoint(path, settings.quantization);
  const options = { given: givenDegrees(resolved), qps: settings.qps };
  const load = plannedLoad(resolved, checkpoint);
  if (!settings.cpu) {
    const planning = { checkpoint, load, devices: gpuDevices(resolved), memory: gpuMemory };
    return recommendFormation(planning, { ...options, bandwidth: settings.gpuBandwidth ?? GPU_BANDWIDTH });
  }
  const addon = loadNative();
  const devices = cpuDevices(resolved);
  const device = addon.createDevice({ backend: 'cpu', threads: settings.threads ?? threadsOf(devices) });
  try {
    const bandwidth = settings.gpuBandwidth ?? (await measuredBandwidth(addon, device)) / devices.count;
    const memory = cpuMemory(addon, device, CHANNEL_CAPACITY_BYTES);
    return recommendFormation({ checkpoint, load, devices, memory }, { ...options, bandwidth });
  } finally {
    device.close();
  }
}

function givenDegrees({ settings, origins }: Resolved): GivenDegrees {
  const given = (key: FlagKey, value: number | null): number | null =>
    origins[key].source === 'default' ? null : value;
  return {
    tensor: given('tensorParallelSize', settings.tensorParallelSize),
    pipeline: settings.pipelineParallelSize ?? settings.ppLayerPartition?.length ?? null,
    data: given('dataParallelSize', settings.dataParallelSize),
    isExpertParallel: settings.enableExpertParallel,
    layerPartition: settings.ppLayerPartition,
  };
}

/** As a leader tells its ranks. */
function plannedLoad({ settings }: Resolved, { model, tensors }: PlannedCheckpoint): PlannedLoad {
  const { maxNumSeqs, blockSize, context: wanted } = settings;
  const context = Math.min(wanted, model.config.maxPositionEmbeddings);
  const maxNumBatchedTokens = Math.max(settings.maxNumBatchedTokens, maxNumSeqs);
  const { maxNumRows } = engineConfig({ maxNumSeqs, maxNumBatchedTokens });
  const kvDtype = settings.kvCacheDtype === 'auto' ? settings.dtype : settings.kvCacheDtype;
  return {
    context,
    blockSize,
    numBlocks: settings.numGpuBlocksOverride,
    redundantExperts: settings.numRedundantExperts,
    kvDtype: resolveKVCacheDtype(kvDtype, model.config, tensors),
    limits: {
      maxTokens: maxNumBatchedTokens,
      maxSeqs: maxNumSeqs,
      maxRows: maxNumRows,
      maxModelLen: context,
      maxLogprobs: 0,
      numSlots: maxNumSeqs * 2,
    },
  };
}

function gpuDevices({ settings }: Resolved): PlannedDevices {
  if (settings.gpus === null)
    throw new ConfigError('ERR_OPTION', '--gpus is not given; say how many devices there are, or --cpu');
  return {
    kind: 'gpu',
    count: settings.gpus,
    perHost: settings.gpusPerHost,
    memoryBytes: settings.gpuMemory,
    usableShare: settings.gpuMemoryUtilization,
    kvShare: 1,
  };
}

/** Ranks of this machine, each with an equal part of what it has left. */
function cpuDevices(resolved: Resolved): PlannedDevices {
  const { settings, origins } = resolved;
  const { gpus, tensorParallelSize, dataParallelSize } = settings;
  const { pipeline } = givenDegrees(resolved);
  const count = gpus ?? (pipeline ?? 1) * tensorParallelSize * dataParallelSize;
  const isGiven = origins.gpuMemory.source !== 'default';
  return {
    kind: 'cpu',
    count,
    perHost: count,
    memoryBytes: isGiven ? settings.gpuMemory : hostMemory().availableBytes / count,
    usableShare: 1,
    kvShare: settings.cpuMemoryUtilization,
  };
}

function threadsOf({ count }: PlannedDevices): number {
  return Math.max(1, Math.floor(hostCores() / count));
}

async function measuredBandwidth(addon: NativeAddon, device: Device): Promise<number> {
  const measure = { threads: device.threads, seconds: MEASURE_SECONDS, readBytes: MEASURE_BYTES };
  return (await addon.measureCeilings(measure)).readGBps * 1e9;
}
