//! Sound and moving pictures.

use std::io::{Read, Seek, SeekFrom};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioCodecId, well_known as sound};
use symphonia::core::codecs::video::{VideoCodecId, well_known as picture};
use symphonia::core::common::Limit;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::{MetadataOptions, MetadataRevision, StandardTag};

use crate::wire::{Attribute, Attributes};

/// Most bytes of one tag that are read; and of one picture, of which nothing is wanted.
const MAX_TAG: usize = 64 * 1024;
const MAX_VISUAL: usize = 0;

/// Bytes that can be sought in.
struct Source<T> {
    inner: T,
    size: u64,
}

impl<T: Read> Read for Source<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<T: Seek> Seek for Source<T> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<T: Read + Seek + Send + Sync> MediaSource for Source<T> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.size)
    }
}

pub(super) fn describe(mut source: impl Read + Seek + Send + Sync, extension: &str, all: &mut Attributes) {
    let Ok(size) = source.seek(SeekFrom::End(0)) else { return };
    if source.rewind().is_err() {
        return;
    }
    let mut hint = Hint::new();
    hint.with_extension(extension);
    let stream =
        MediaSourceStream::new(Box::new(Source { inner: source, size }), MediaSourceStreamOptions::default());
    let limits = MetadataOptions::default()
        .limit_tag_bytes(Limit::Maximum(MAX_TAG))
        .limit_visual_bytes(Limit::Maximum(MAX_VISUAL));
    let probed = symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), limits);
    let Ok(mut format) = probed else { return };
    // Of what is said twice the newest counts: an ID3v1 tag, which is cut off after 30 characters, comes before the ID3v2 tag.
    // Neither has to have all of it.
    let mut revisions = Vec::new();
    let mut metadata = format.metadata();
    loop {
        let mut found = Attributes::default();
        if let Some(tags) = metadata.current() {
            take_tags(tags, &mut found);
        }
        revisions.push(found);
        if metadata.pop().is_none() {
            break;
        }
    }
    revisions.iter().rev().for_each(|found| all.complete_with(found));
    let duration = duration(&*format);
    if let Some(seconds) = duration.filter(|seconds| seconds.is_finite() && (0.0..1e9).contains(seconds)) {
        all.add_lossy(Attribute::Duration, &format!("{seconds:.3}"));
        if seconds >= 0.1 {
            // Of the file as a whole, which is what it takes to have it in time.
            all.add_lossy(Attribute::Bitrate, &format!("{:.0}", size as f64 * 8.0 / seconds));
        }
    }
    // The picture first.
    for wanted in [TrackType::Video, TrackType::Audio] {
        for track in format.tracks().iter().filter(|track| track.track_type() == Some(wanted)) {
            match &track.codec_params {
                Some(CodecParameters::Video(video)) => {
                    add(all, Attribute::Codec, video_codec(video.codec));
                    add_once(all, Attribute::Width, video.width);
                    add_once(all, Attribute::Height, video.height);
                }
                Some(CodecParameters::Audio(audio)) => {
                    add(all, Attribute::Codec, audio_codec(audio.codec));
                    add_once(all, Attribute::SampleRate, audio.sample_rate);
                    add_once(
                        all,
                        Attribute::Channels,
                        audio.channels.as_ref().map(|channels| channels.count()),
                    );
                }
                _ => {}
            }
        }
    }
}

/// Seconds: what the file says of itself as a whole, else of its longest track.
fn duration(format: &dyn FormatReader) -> Option<f64> {
    let info = format.media_info();
    let whole = info.time_base.zip(info.duration).and_then(|(base, duration)| base.calc_duration(duration));
    let tracks = format.tracks().iter().filter_map(|track| {
        let of_time = track.time_base.zip(track.duration).and_then(|(base, long)| base.calc_duration(long));
        of_time.map(|time| time.as_secs_f64())
    });
    whole.map(|time| time.as_secs_f64()).filter(|seconds| *seconds > 0.0).or_else(|| tracks.reduce(f64::max))
}

fn add(all: &mut Attributes, attribute: Attribute, value: Option<impl ToString>) {
    if let Some(value) = value {
        all.add_lossy(attribute, &value.to_string());
    }
}

fn add_once(all: &mut Attributes, attribute: Attribute, value: Option<impl ToString>) {
    if !all.has(attribute) {
        add(all, attribute, value);
    }
}

/// In words of Dublin Core.
fn take_tags(tags: &MetadataRevision, all: &mut Attributes) {
    let of_tracks = tags.per_track.iter().flat_map(|track| &track.metadata.tags);
    for tag in tags.media.tags.iter().chain(of_tracks).filter_map(|tag| tag.std.as_ref()) {
        let (attribute, value) = match tag {
            StandardTag::TrackTitle(text) | StandardTag::MovieTitle(text) => (Attribute::Title, text),
            StandardTag::Artist(text) | StandardTag::Author(text) | StandardTag::Composer(text) => {
                (Attribute::Creator, text)
            }
            StandardTag::Performer(text)
            | StandardTag::Conductor(text)
            | StandardTag::Lyricist(text)
            | StandardTag::Actor(text)
            | StandardTag::Director(text) => (Attribute::Contributor, text),
            StandardTag::Label(text) | StandardTag::ProductionStudio(text) => (Attribute::Publisher, text),
            StandardTag::Genre(text) | StandardTag::Subject(text) | StandardTag::Keywords(text) => {
                (Attribute::Subject, text)
            }
            StandardTag::Description(text)
            | StandardTag::Comment(text)
            | StandardTag::Summary(text)
            | StandardTag::Synopsis(text) => (Attribute::Description, text),
            StandardTag::RecordingDate(text) | StandardTag::ReleaseDate(text) => (Attribute::Date, text),
            StandardTag::Copyright(text) | StandardTag::License(text) | StandardTag::TermsOfUse(text) => {
                (Attribute::Rights, text)
            }
            StandardTag::Language(text) => (Attribute::Language, text),
            StandardTag::IdentIsrc(text) | StandardTag::IdentIsbn(text) => (Attribute::Identifier, text),
            StandardTag::Album(text) => (Attribute::Relation, text),
            StandardTag::RecordingYear(year) | StandardTag::ReleaseYear(year) => {
                all.add_lossy(Attribute::Date, &year.to_string());
                continue;
            }
            _ => continue,
        };
        // Formats have several places for the same.
        if !all.values(attribute).any(|known| known == value.trim()) {
            all.add_lossy(attribute, value);
        }
    }
}

fn audio_codec(codec: AudioCodecId) -> Option<&'static str> {
    Some(match codec {
        sound::CODEC_ID_VORBIS => "vorbis",
        sound::CODEC_ID_OPUS => "opus",
        sound::CODEC_ID_SPEEX => "speex",
        sound::CODEC_ID_FLAC => "flac",
        sound::CODEC_ID_MP1 => "mp1",
        sound::CODEC_ID_MP2 => "mp2",
        sound::CODEC_ID_MP3 => "mp3",
        sound::CODEC_ID_AAC => "aac",
        sound::CODEC_ID_AC3 => "ac3",
        sound::CODEC_ID_EAC3 => "eac3",
        sound::CODEC_ID_DCA => "dts",
        sound::CODEC_ID_ALAC => "alac",
        sound::CODEC_ID_TRUEHD => "truehd",
        sound::CODEC_ID_WMA => "wma",
        sound::CODEC_ID_PCM_ALAW => "pcm_alaw",
        sound::CODEC_ID_PCM_MULAW => "pcm_mulaw",
        sound::CODEC_ID_PCM_U8 => "pcm_u8",
        sound::CODEC_ID_PCM_S16LE => "pcm_s16le",
        sound::CODEC_ID_PCM_S16BE => "pcm_s16be",
        sound::CODEC_ID_PCM_S24LE => "pcm_s24le",
        sound::CODEC_ID_PCM_S24BE => "pcm_s24be",
        sound::CODEC_ID_PCM_S32LE => "pcm_s32le",
        sound::CODEC_ID_PCM_S32BE => "pcm_s32be",
        sound::CODEC_ID_PCM_F32LE => "pcm_f32le",
        sound::CODEC_ID_PCM_F64LE => "pcm_f64le",
        sound::CODEC_ID_ADPCM_MS => "adpcm_ms",
        sound::CODEC_ID_ADPCM_IMA_WAV => "adpcm_ima_wav",
        _ => return None,
    })
}

fn video_codec(codec: VideoCodecId) -> Option<&'static str> {
    Some(match codec {
        picture::CODEC_ID_MJPEG => "mjpeg",
        picture::CODEC_ID_MPEG1 => "mpeg1video",
        picture::CODEC_ID_MPEG2 => "mpeg2video",
        picture::CODEC_ID_MPEG4 => "mpeg4",
        picture::CODEC_ID_H263 => "h263",
        picture::CODEC_ID_H264 => "h264",
        picture::CODEC_ID_HEVC => "hevc",
        picture::CODEC_ID_VVC => "vvc",
        picture::CODEC_ID_VP8 => "vp8",
        picture::CODEC_ID_VP9 => "vp9",
        picture::CODEC_ID_AV1 => "av1",
        picture::CODEC_ID_THEORA => "theora",
        picture::CODEC_ID_VC1 => "vc1",
        picture::CODEC_ID_WMV3 => "wmv3",
        _ => return None,
    })
}
